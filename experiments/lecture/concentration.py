"""Claim L1: clicks concentrate on few items, in worlds and in public data.

    python experiments/lecture/concentration.py movielens=FOLDER gowalla=FOLDER

Writes concentration.csv. The default world has five seeds, each of the other worlds
one. The interval of a log is over its users, from 500 bootstrap draws.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.config import from_dict
from twotower_jax.data.concentration import gini
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.sources import load
from twotower_jax.sweeps.compose import compose_config

WORLDS = {
    "weak_position": ["position_bias=0.2"],
    "strong_position": ["position_bias=1.0"],
    "weak_popularity": ["zipf_exponent=0.5"],
    "strong_popularity": ["zipf_exponent=1.5"],
    "good_ranker": ["pre_ranking_noise=0.5", "ranking_noise=0.25"],
    "bad_ranker": ["pre_ranking_noise=3.0", "ranking_noise=1.5"],
}
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


def main() -> None:
    """Measure the concentration of every log."""
    named = logs(sys.argv[1:])
    rows = [{"where": name, **intervals(log)} for name, log in named.items()]
    for row in rows:
        row["verdict"] = verdict(row)
    pl.DataFrame(rows).write_csv(Path(__file__).parent / "concentration.csv")


if __name__ == "__main__":
    main()
