"""Baselines: scores of items from the clicks alone, without towers or samples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.config.baseline import BaselineConfig
from twotower_jax.model.click_matrix import Clicks
from twotower_jax.model.ease import ease, ease_excess, ease_seconds
from twotower_jax.model.ials import ials, ials_excess
from twotower_jax.model.item_knn import item_knn, item_knn_excess
from twotower_jax.registry import Registry

Scores = Callable[[Clicks], np.ndarray]


class Baseline(NamedTuple):
    """One baseline.

    Attributes:
      label: its name in tables.
      fit: (clicks, numbers, seed) -> scores. The clicks are [users, items]; the scores
        take histories [n, items] to [n, items] float32.
      excess: (clicks, numbers) -> the limit, or the memory, that a fit would exceed;
        None within it.
      shared: whether every query has the same scores.
      seeded: whether the fit depends on the seed.
      again: whether it recommends the items of the history, and so needs queries whose
        seen items are not masked.
      seconds: clicks -> expected seconds of a fit; 0 where ``excess`` limits them.
    """

    label: str
    fit: Callable[[Clicks, BaselineConfig, int], Scores]
    excess: Callable[[Clicks, BaselineConfig], str | None]
    shared: bool = False
    seeded: bool = False
    again: bool = False
    seconds: Callable[[Clicks], float] = lambda clicks: 0.0


def popularity(clicks: Clicks, numbers: BaselineConfig, seed: int) -> Scores:
    """Clicks of each item, the same scores for every query.

    Args:
      clicks: [users, items], the number of clicks of each pair.
      numbers: not used.
      seed: not used.

    Examples:
      >>> from twotower_jax.model.click_matrix import click_matrix
      >>> clicks = click_matrix(np.array([0, 1]), np.array([1, 1]), (2, 2))
      >>> popularity(clicks, BaselineConfig(), 0)(clicks[:1]).tolist()
      [[0.0, 2.0]]
    """
    del numbers, seed
    counts = clicks.sum(axis=0).astype(np.float32)
    return lambda history: np.repeat(counts[None], history.shape[0], axis=0)


def buy_again(clicks: Clicks, numbers: BaselineConfig, seed: int) -> Scores:
    """The items of the history by their number of clicks, then popularity.

      s(i) = h_i + c_i / (1 + max_j c_j)

    h_i counts the clicks of the query's history on item i, c_i those of all users.

    Args:
      clicks: [users, items], the number of clicks of each pair.
      numbers: not used.
      seed: not used.

    Returns:
      histories [n, items] -> scores [n, items] float32.

    References:
      Li, Jullien, Ariannezhad & de Rijke, A Next Basket Recommendation Reality Check,
      TOIS 2023: its method G-P-TopFreq.

    Examples:
      >>> from twotower_jax.model.click_matrix import click_matrix
      >>> clicks = click_matrix(np.array([0, 1, 1]), np.array([1, 0, 0]), (2, 2))
      >>> np.argsort(-buy_again(clicks, BaselineConfig(), 0)(clicks)).tolist()
      [[1, 0], [0, 1]]
    """
    del numbers, seed
    counts = clicks.sum(axis=0)
    below_one = (counts / (1 + counts.max(initial=0))).astype(np.float32)
    return lambda history: history.toarray().astype(np.float32) + below_one


BASELINES: Registry[Baseline] = Registry(
    "towers.kind",
    {
        "popularity": Baseline("popularity", popularity, lambda *_: None, shared=True),
        "buy_again": Baseline("buy again", buy_again, lambda *_: None, again=True),
        "item_knn": Baseline("item-kNN", item_knn, item_knn_excess),
        "ease": Baseline("EASE", ease, ease_excess, seconds=ease_seconds),
        "ials": Baseline("iALS", ials, ials_excess, seeded=True),
    },
)


def baselines_for(mask_seen: bool) -> list[str]:
    """Names of the baselines that can recommend anything of their own.

    Args:
      mask_seen: whether the items of a query's history are masked.

    Examples:
      >>> baselines_for(mask_seen=True)
      ['popularity', 'item_knn', 'ease', 'ials']
    """
    return [kind for kind, one in BASELINES.items() if not (one.again and mask_seen)]
