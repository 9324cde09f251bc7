"""Metrics on test of trainings that stop where test is best, and where valid is.

    python experiments/papers/stopped_on_test.py NAME outputs/NAME outputs/OTHER ARM

OTHER is the same study on the folder that exchange_parts.py writes. Its towers are
evaluated on the test part of NAME, with the masks of NAME. Writes stopped_on_test.csv
(arm, seed, stopped, metric, value) into experiments/papers/NAME, and the table
between the marks <!-- NAME.stops --> of its README.md, where differences have the 95 %
interval of Student's t over seeds.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from cells import insert, interval, mean_text
from finished import METRICS, folders, load, values

from twotower_jax.run.evaluate import embed
from twotower_jax.run.records import stored_config
from twotower_jax.run.reproduce import load_trained

HERE = Path(__file__).parent
VALID, TEST = "valid", "test"


def rows_of(path: Path, others: dict[tuple[str | None, int], Path]) -> list[dict]:
    """Return the metrics of a run and of the one with the exchanged parts.

    Args:
      path: folder of the run.
      others: the folder of the other run, by arm and seed.
    """
    run = load(path)
    arm, seed = run.config.arm, run.config.seed
    folder = others[arm, seed]
    other = load_trained(stored_config(folder), folder)
    own, theirs = (one.log.item_ids.to_numpy() for one in (run.data, other.data))
    trained = int(run.data.split.train.item.max()) + 1
    if not np.array_equal(own[:trained], theirs[:trained]):
        sys.exit(f"{folder}: its items stand in another order than those of {path}")
    queries = run.queries[TEST]
    embedded = embed(other.model, other.params, queries, len(own))
    found = {
        VALID: values(run, TEST, run.embedded[TEST]),
        TEST: values(run, TEST, embedded),
    }
    return [
        {"arm": arm, "seed": seed, "stopped": part, "metric": name}
        | {"value": float(np.nanmean(each[name]))}
        for part, each in found.items()
        for name in METRICS
    ]


def table(made: pl.DataFrame) -> str:
    """Return recall and ndcg of both stops, and their difference, in Markdown.

    Args:
      made: columns arm, seed, stopped, metric, value.
    """
    lines = ["| arm | metric | stopped on valid | stopped on test | difference |"]
    lines.append("|---|---|---|---|---|")
    for arm in made["arm"].unique(maintain_order=True):
        for metric in METRICS[:2]:
            kept = made.filter(arm=arm, metric=metric).sort("seed")
            stops = [kept.filter(stopped=s)["value"].to_numpy() for s in (VALID, TEST)]
            mean, low, high = interval(list(stops[1] - stops[0]))
            texts = " | ".join(mean_text(list(one)) for one in stops)
            shown = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
            lines.append(f"| {arm} | {metric} | {texts} | {shown} |")
    return "\n".join(lines)


def main(name: str, study: str, exchanged: str, *arms: str) -> None:
    """Write stopped_on_test.csv and the table."""
    others = {
        (config.arm, config.seed): path
        for path in folders(exchanged, list(arms))
        if (config := stored_config(path))
    }
    rows = [row for path in folders(study, list(arms)) for row in rows_of(path, others)]
    made = pl.DataFrame(rows)
    made.write_csv(HERE / name / "stopped_on_test.csv")
    insert(HERE / name / "README.md", f"{name}.stops", table(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
