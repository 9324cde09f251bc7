"""Metrics of short runs, to compare two versions of the code.

``python benchmarks/bits.py FILE`` trains every configuration of ``RUNS`` and writes the
metrics, with all digits, to FILE.
``python benchmarks/bits.py FILE --against OLD`` also lists the differences to OLD and
exits with status 1 where there are any. Both files have to be made on one machine:
other processors and other versions of JAX round differently.

Between them the runs use every sampler, loss, correction, source of negatives, mask,
tower, optimizer and resampling strategy, and the fused launcher.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import yaml

from twotower_jax.cli import main

WORLD = (
    "data.simulator.users=200",
    "data.simulator.items=300",
    "data.simulator.requests=3000",
    "towers=mlp",
    "towers.dim=8",
    "optimizer=adagrad",
    "training.batch_size=128",
    "training.steps=24",
    "training.eval_every=8",
    "evaluation.k=[10,20]",
)
FACTORS = "towers.hidden=[]"
HARD = ("negatives=hard", "negatives.hard.num=3", FACTORS)

RUNS: dict[str, tuple[str, ...]] = {
    "in-batch, MLP": (),
    "in-batch, histories, adam": (
        "towers.query=[id,history]",
        "towers.history_length=5",
        "optimizer=adam",
        "optimizer.learning_rate=0.01",
    ),
    "in-batch, features": ("towers.candidate=[id,category]", "towers.query=[history]"),
    "mixed, negatives": (
        "negatives=mixed",
        "negatives.easy.num=32",
        "loss.logq.correct=negatives",
        FACTORS,
    ),
    "uniform, uncorrected, sgd": (
        "negatives=uniform",
        "negatives.easy.num=64",
        "loss.logq.correct=none",
        "optimizer=sgd",
        "optimizer.learning_rate=0.2",
        FACTORS,
    ),
    "popularity per row, user positives": (
        "negatives=popularity",
        "negatives.easy.num=8",
        "negatives.layout=per_row",
        "negatives.mask=user_positives",
        FACTORS,
    ),
    "log-uniform, no mask, decay, l2": (
        "negatives=log_uniform",
        "negatives.easy.num=32",
        "negatives.mask=none",
        "optimizer.decay=true",
        "optimizer.l2=0.001",
        FACTORS,
    ),
    "bank": ("negatives=bank", "negatives.bank.size=256", "negatives.bank.warmup=0.2"),
    "hard, mixture": HARD,
    "hard, easy log q, user pool": (
        *HARD,
        "negatives.hard.log_q=easy",
        "negatives.hard.pool=user",
        "negatives.hard.stages=[ranked:2-20,retrieved]",
        "negatives.hard.weights=[1,2]",
    ),
    "half hard": ("negatives=half_hard", "negatives.easy.num=4", FACTORS),
    "shared layout, ratio, mixture": (
        *HARD,
        "negatives.easy.num=16",
        "negatives.hard_ratio=0.4",
        "negatives.hard_start=0.1",
        "negatives.hard.log_q=mixture",
        "loss.logq.correct=negatives",
        "negatives.mask=user_positives",
    ),
    "mined": (
        "negatives=mined",
        "negatives.hard.mined.every=0.3",
        "negatives.hard.mined.range_min=5",
        "negatives.hard.mined.range_max=40",
        "negatives.hard.num=2",
        FACTORS,
    ),
    "dns": (
        "negatives=dns",
        "negatives.hard.num=2",
        "negatives.hard.candidate_num=4",
        FACTORS,
    ),
    "top k in batch": (
        "negatives=top_k_in_batch",
        "negatives.num_hard_negatives=20",
        FACTORS,
    ),
    "streaming, learned temperature": (
        "loss.logq.frequency=streaming",
        "loss.learn_temperature=true",
        FACTORS,
    ),
    "separate columns, reweighted": (
        "training.merge_columns=false",
        "positives=downsample_hot",
        "positives.reweight=true",
        FACTORS,
    ),
    "bce": ("loss=bce", "positives=upsample_cold", FACTORS),
    "gbce": ("loss=gbce", "negatives=uniform", "negatives.easy.num=32", FACTORS),
    "hinge": ("loss=hinge", "positives=cap", "positives.cap=5", FACTORS),
    "logistic": ("loss=logistic", "positives=word2vec", FACTORS),
    "full softmax": ("loss=full_softmax", "positives=power", FACTORS),
    "dot product, auc": (
        "towers.normalize=false",
        "positives=word2vec_c",
        "evaluation.auc=[uniform,retrieved,exposed]",
        "evaluation.uniform_exposures=30",
        FACTORS,
    ),
    "popularity": ("towers=popularity", "evaluation.subtract_log_q=false"),
    "fused": ("-m", "hydra/launcher=fused", "seed=0,1", "loss.temperature=0.1,0.2"),
}


def run(words: tuple[str, ...], output: Path) -> dict[str, dict]:
    """Return {seed and temperature: metrics} of the runs of one command."""
    place = ("name=bits", f"output={output}", "hydra.callbacks.study.base=null")
    try:
        own = any(word.startswith("optimizer=") for word in words)
        world = [word for word in WORLD if not (own and word.startswith("optimizer="))]
        main(["train", *words, *world, *place])
    except SystemExit as end:
        if end.code:
            raise
    results = {}
    for path in sorted((output / "bits").glob("*/result.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        label = (
            f"seed {config['seed']}, temperature {config['loss'].get('temperature')}"
        )
        results[label] = json.loads(path.read_text())
    return results


def collect(output: Path) -> dict[str, dict]:
    """Return the metrics of every configuration, by its name and its folder."""
    found = {}
    for number, (name, words) in enumerate(RUNS.items()):
        print(f"{number + 1}/{len(RUNS)} {name}", flush=True)
        for label, result in run(words, output / str(number)).items():
            result = {k: v for k, v in result.items() if "second" not in k}
            found[f"{name}, {label}"] = result
    return found


def differences(before: dict, after: dict) -> list[str]:
    """Return one line per run that is missing, or whose metrics differ."""
    lines = [f"missing: {name}" for name in before.keys() - after.keys()]
    lines += [f"new: {name}" for name in after.keys() - before.keys()]
    lines += [
        f"other metrics: {name}"
        for name in before.keys() & after.keys()
        if json.dumps(before[name]) != json.dumps(after[name])
    ]
    return sorted(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("TWOTOWER_CACHE", "")
    with tempfile.TemporaryDirectory() as place:
        runs = collect(Path(place))
    options.file.write_text(json.dumps(runs, indent=1))
    print(f"{len(runs)} runs of {len(RUNS)} configurations: {options.file}")
    if options.against:
        found = differences(json.loads(options.against.read_text()), runs)
        print("\n".join(found) or "equal to the bit")
        sys.exit(bool(found))
