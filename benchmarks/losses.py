"""Speed of a step with each loss: `python benchmarks/losses.py [--help]`.

One process, programs in turn: a step with each loss over one with the sampled softmax.
The work: id tables of dimension 64, uniform negatives that all rows share, Adagrad.
CPU seconds are those of all threads; unlike the wall clock they hold on a machine with
other work. Estimates of the k-th best scores are made between dispatches and are not in
the step.
"""

import argparse
from typing import Any

import numpy as np
from training import World, clicks, in_turn, loaded

UNCORRECTED = {"correct": "none"}
LOSSES: dict[str, dict[str, Any]] = {
    "sampled_softmax": {"logq": UNCORRECTED},
    "decoupled": {"logq": UNCORRECTED, "decoupled": True},
    "decoupled, weight 1.22": {
        "logq": UNCORRECTED,
        "decoupled": True,
        "negative_weight": 1.22,
    },
    "logq strength 0.5": {"logq": {"correct": "all", "strength": 0.5}},
    "softmax_at_k": {"name": "softmax_at_k"},
    "psl, tanh": {"name": "psl"},
    "psl, atan": {"name": "psl", "activation": "atan"},
    "psl, relu": {"name": "psl", "activation": "relu"},
    "ccl": {"name": "ccl"},
    "dcl": {"name": "dcl"},
    "hcl": {"name": "hcl"},
    "bce": {"name": "bce"},
    "logistic": {"name": "logistic"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=40_000, help="users and items")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--draws", type=int, default=1024, help="negatives of a batch")
    parser.add_argument("--steps", type=int, default=10, help="steps per turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.set_defaults(merge=True)
    options = parser.parse_args()
    data = loaded(*clicks(options.size), options.size, options.size)
    negatives = {
        "in_batch": False,
        "easy": {"sampler": "uniform", "num": options.draws},
    }
    first, *_ = names = [n for n in LOSSES if n in {*options.only, "sampled_softmax"}]
    worlds = {
        name: World(
            data,
            options,
            {"negatives": negatives, "loss": {"temperature": 0.1} | LOSSES[name]},
            query=("id",),
            candidate=("id",),
        )
        for name in names
    }
    times = in_turn(worlds, options.turns, options.steps)
    print(
        f"batch {options.batch}, {options.draws} negatives; medians of {options.turns} "
        f"turns of {options.steps} steps"
    )
    heads = "examples/s", "over first", "per CPU s", "over first"
    print(" " * 24 + "".join(f"{head:>12}" for head in heads))
    for name, seconds in times.items():
        rates = np.median(options.batch / seconds, axis=0)
        ratios = np.median(times[first] / seconds, axis=0)
        print(
            f"{name:24}{rates[0]:12,.0f}{ratios[0]:12.2f}{rates[1]:12,.0f}"
            f"{ratios[1]:12.2f}"
        )


if __name__ == "__main__":
    main()
