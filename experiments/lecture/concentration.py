"""Claim L1: clicks concentrate on few items, in worlds and in public data.

    python experiments/lecture/concentration.py movielens=FOLDER gowalla=FOLDER

Writes concentration.csv, figure_L1.svg and the table of L1. The default world has five
seeds, each of the other worlds of run.py one. The interval of a log is over its users,
from 500 bootstrap draws.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from run import WORLDS
from tables import HERE, insert, save

from twotower_jax.config import from_dict
from twotower_jax.data.concentration import gini
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.sources import load
from twotower_jax.sweeps.compose import compose_config

matplotlib.use("svg")
from matplotlib import pyplot as plt

DRAWS = 500
# The claim is refuted where the top tenth of the items takes less than this.
REFUTED_BELOW = 0.3
SOURCES = {
    "movielens": {"source": "movielens", "min_user_positives": 1},
    "gowalla": {"source": "lightgcn"},
    "wikispeedia": {"source": "wikispeedia"},
}


def logs(named: list[str]) -> dict[str, FunnelLog]:
    """The logs of the worlds and of the named data sets.

    Args:
      named: NAME=FOLDER per data set.

    Returns:
      {name: log}.
    """
    by_name = {}
    worlds = {f"simulator, seed {seed}": [f"seed={seed}"] for seed in range(5)}
    for world, pairs in (worlds | WORLDS).items():
        words = [f"data.simulator.{pair}" for pair in pairs]
        config = compose_config(["experiment=lecture/base", *words])
        by_name[world] = load(config.data)
    for word in named:
        name, _, path = word.partition("=")
        config = from_dict({"data": SOURCES[name] | {"path": path}})
        by_name[name] = load(config.data)
    return by_name


def top_share(counts: np.ndarray, share: float) -> float:
    """Share of the clicks on the most clicked items.

    Args:
      counts: [items] clicks per item.
      share: share of the catalogue that counts as most clicked.

    Returns:
      A number in [0, 1].
    """
    number = int(np.ceil(share * len(counts)))
    return float(np.sort(counts)[::-1][:number].sum() / counts.sum())


def intervals(log: FunnelLog) -> dict[str, float]:
    """Shares of clicks and Gini of a log, with an interval for the top tenth.

    Args:
      log: a log of the funnel.

    Returns:
      One row of concentration.csv without its name and verdict.
    """
    rows = np.flatnonzero(log.stage == Stage.CLICKED)
    user, item = log.user[rows], log.item[rows]
    counts = np.bincount(item, minlength=log.num_items)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        times = rng.multinomial(
            log.num_users, np.full(log.num_users, 1 / log.num_users)
        )
        drawn = np.bincount(item, times[user], minlength=log.num_items)
        draws.append(top_share(drawn, 0.1))
    # Clicks of resampled users are more concentrated than those of all users, so that
    # percentiles would be too high. The interval is the estimate +- 1.96 standard
    # deviations of the draws.
    share, error = top_share(counts, 0.1), 1.96 * float(np.std(draws, ddof=1))
    return {
        "clicks": len(rows),
        "items": log.num_items,
        "top 1 %": top_share(counts, 0.01),
        "top 10 %": share,
        "low": share - error,
        "high": share + error,
        "gini": gini(counts),
        "without a click": float((counts == 0).mean()),
    }


def verdict(row: dict[str, Any]) -> str:
    """Verdict of L1 from the interval of the top tenth's share.

    Args:
      row: a row of concentration.csv.

    Returns:
      "holds", "refuted" or "cannot tell".
    """
    if row["low"] > REFUTED_BELOW:
        return "holds"
    return "refuted" if row["high"] < REFUTED_BELOW else "cannot tell"


def draw(named: dict[str, FunnelLog]) -> None:
    """Draw the Lorenz curves: share of the clicks on the most clicked items.

    Args:
      named: {name: log}.
    """
    figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
    for name, log in named.items():
        counts = np.bincount(
            log.item[log.stage == Stage.CLICKED], minlength=log.num_items
        )
        curve = np.cumsum(np.sort(counts)[::-1]) / counts.sum()
        share = np.arange(1, len(curve) + 1) / len(curve)
        kept = np.unique(np.geomspace(1, len(curve), 200).astype(int)) - 1
        axis.plot(share[kept], curve[kept], label=name, lw=1.5)
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--", label="equal clicks")
    axis.axvline(0.1, color="grey", lw=0.6)
    axis.set_xlabel("share of the catalogue, most clicked first")
    axis.set_ylabel("share of the clicks")
    axis.legend(fontsize=8)
    save(figure, "L1")


def main() -> None:
    """Measure the concentration of every log."""
    named = logs(sys.argv[1:])
    rows = [{"where": name, **intervals(log)} for name, log in named.items()]
    for row in rows:
        row["verdict"] = verdict(row)
    pl.DataFrame(rows).write_csv(Path(HERE) / "concentration.csv")
    lines = [
        "| where | clicks | items | top 1 % | top 10 % | interval | Gini | verdict |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r['where']} | {r['clicks']:,} | {r['items']:,} | {r['top 1 %']:.3f} "
            f"| {r['top 10 %']:.3f} | {r['low']:.3f} to {r['high']:.3f} "
            f"| {r['gini']:.3f} | {r['verdict']} |"
            for r in rows
        ),
    ]
    insert("L1", "\n".join(lines))
    draw(named)


if __name__ == "__main__":
    main()
