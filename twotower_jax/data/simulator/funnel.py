"""From candidates to the page: pre-ranking, ranking, re-ranking, exposure."""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.arrays import best, take
from twotower_jax.data.simulator.world import World, affinity


class Line(NamedTuple):
    """Items [n, k] best first, their true affinity, the scores that ordered them."""

    items: np.ndarray
    liking: np.ndarray
    scores: np.ndarray


def repeats(groups: np.ndarray) -> np.ndarray:
    """Return how many columns before have the same group, for each entry [n, k]."""
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
    liking: np.ndarray,
    deviation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what a ranker takes for the affinity: with noise, and for popularity."""
    pull = np.float32(world.config.popularity_pull) * world.fame[items]
    noise = rng.standard_normal(liking.shape, np.float32)
    return liking + pull + np.float32(deviation) * noise


def _cut(line: Line, keep: int) -> tuple[Line, Line]:
    """Order by the scores; return the first ``keep`` and the others."""
    order = best(line.scores, line.scores.shape[1])
    items, liking, scores = (take(part, order) for part in line)
    head = Line(items[:, :keep], liking[:, :keep], scores[:, :keep])
    return head, Line(items[:, keep:], liking[:, keep:], scores[:, keep:])


def judge(
    world: World, tastes: np.ndarray, items: np.ndarray, rng: np.random.Generator
) -> dict[Stage, Line]:
    """Send the retrieved items of requests through the stages.

    Pre-ranking and ranking score the affinity, with noise and what popularity adds.
    Re-ranking takes ``variety`` off an item's ranking score for each better one of
    the same author, which is what choosing one item after another by score less
    ``variety`` times the chosen ones of its author gives. The page shows the first
    ``exposed``.

    Args:
      world: the world.
      tastes: [n, dim] float32.
      items: [n, retrieved] int32.
      rng: of the block.

    Returns:
      For RETRIEVED to RE_RANKED what got no further, best first; for EXPOSED the
      page from its top. Ties go to the item that came first before.
    """
    config, sizes = world.config, world.sizes
    liking = affinity(world, tastes, items)
    scores = _score(world, items, liking, config.pre_ranking_noise, rng)
    line, retrieved = _cut(Line(items, liking, scores), sizes.pre_ranked)
    scores = _score(world, line.items, line.liking, config.ranking_noise, rng)
    line = line._replace(scores=scores)
    line, pre_ranked = _cut(line, sizes.ranked)
    penalty = repeats(world.authors.of[line.items]).astype(np.float32)
    varied = line.scores - np.float32(config.variety) * penalty
    line, ranked = _cut(line._replace(scores=varied), sizes.re_ranked)
    line, re_ranked = _cut(line, sizes.exposed)
    return {
        Stage.RETRIEVED: retrieved,
        Stage.PRE_RANKED: pre_ranked,
        Stage.RANKED: ranked,
        Stage.RE_RANKED: re_ranked,
        Stage.EXPOSED: line,
    }
