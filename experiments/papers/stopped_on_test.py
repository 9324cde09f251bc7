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

from twotower_jax.data.log import FunnelLog
from twotower_jax.run.evaluate import embed, load_trained
from twotower_jax.run.folder import stored_config

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
    params = in_order_of(run.data.log, other.data.log, other.params)
    embedded = embed(other.model, params, run.queries[TEST], run.data.log.num_items)
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


def in_order_of(own: FunnelLog, theirs: FunnelLog, params: dict) -> dict:
    """Return the tables of ids of another run, with users and items in another order.

    Args:
      own: log whose codes are wanted.
      theirs: log of the run.
      params: of the run, whose towers read ids alone.
    """
    tables = params["tables"]
    if set(tables) != {"query.id", "candidate.id"}:
        sys.exit(f"towers with tables of ids alone are compared, not {sorted(tables)}")
    codes = {
        "query.id": (own.user_ids, theirs.user_ids),
        "candidate.id": (own.item_ids, theirs.item_ids),
    }
    placed = {}
    for name, (wanted, known) in codes.items():
        code = {one: number for number, one in enumerate(known.to_list())}
        lacking = [one for one in wanted.to_list() if one not in code]
        if lacking:
            sys.exit(f"{name}: the other run has no {lacking[0]}")
        placed[name] = tables[name][np.array([code[x] for x in wanted.to_list()])]
    return params | {"tables": placed}


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
