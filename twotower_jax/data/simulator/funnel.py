"""From candidates to the page: pre-ranking, ranking, re-ranking, exposure."""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.arrays import best, take
from twotower_jax.data.simulator.world import World, affinity


class Ranking(NamedTuple):
    """Ordered items of requests.

    Attributes:
      items: [n, k] int32, best first.
      affinities: [n, k] float32 true affinities.
      scores: [n, k] float32 scores of the order.
    """

    items: np.ndarray
    affinities: np.ndarray
    scores: np.ndarray


def repeats(groups: np.ndarray) -> np.ndarray:
    """Number of earlier columns of the same row with the same group.

    Examples:
      >>> repeats(np.array([[4, 7, 4, 4]])).tolist()
      [[0, 0, 1, 2]]
    """
    order = np.argsort(groups, axis=1, kind="stable")
    ordered = take(groups, order)
    place = np.broadcast_to(np.arange(groups.shape[1]), groups.shape)
    begins = np.ones(groups.shape, bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    begin = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    out = np.empty(groups.shape, np.int64)
    np.put_along_axis(out, order, place - begin, axis=1)
    return out


def _score(
    world: World,
    items: np.ndarray,
    affinities: np.ndarray,
    deviation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the scores [n, k] of a ranker: affinity, popularity pull and noise."""
    pull = np.float32(world.config.popularity_pull) * world.log_popularity[items]
    noise = rng.standard_normal(affinities.shape, np.float32)
    return affinities + pull + np.float32(deviation) * noise


def _cut(ranking: Ranking, keep: int) -> tuple[Ranking, Ranking]:
    """Order items by their scores; return the first ``keep`` and the others."""
    order = best(ranking.scores, ranking.scores.shape[1])
    items, affinities, scores = (take(part, order) for part in ranking)
    head = Ranking(items[:, :keep], affinities[:, :keep], scores[:, :keep])
    return head, Ranking(items[:, keep:], affinities[:, keep:], scores[:, keep:])


def judge(
    world: World, tastes: np.ndarray, items: np.ndarray, rng: np.random.Generator
) -> dict[Stage, Ranking]:
    """Furthest stages of the retrieved items of requests.

    Pre-ranking and ranking use the affinity plus ``popularity_pull`` times the log
    popularity plus noise. Re-ranking subtracts ``variety`` from the ranking score of
    an item for each better item of the same author; this equals the greedy choice by
    score less ``variety`` times the number of chosen items of the author. The page
    shows the first ``exposed`` items.
    """
    config, sizes = world.config, world.sizes
    affinities = affinity(world, tastes, items)
    scores = _score(world, items, affinities, config.pre_ranking_noise, rng)
    ranking, retrieved = _cut(Ranking(items, affinities, scores), sizes.pre_ranked)
    scores = _score(world, ranking.items, ranking.affinities, config.ranking_noise, rng)
    ranking = ranking._replace(scores=scores)
    ranking, pre_ranked = _cut(ranking, sizes.ranked)
    penalty = repeats(world.authors.of[ranking.items]).astype(np.float32)
    varied = ranking.scores - np.float32(config.variety) * penalty
    ranking, ranked = _cut(ranking._replace(scores=varied), sizes.re_ranked)
    ranking, re_ranked = _cut(ranking, sizes.exposed)
    return {
        Stage.RETRIEVED: retrieved,
        Stage.PRE_RANKED: pre_ranked,
        Stage.RANKED: ranked,
        Stage.RE_RANKED: re_ranked,
        Stage.EXPOSED: ranking,
    }
