"""From candidates to the page: pre-ranking, ranking, re-ranking, exposure."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.arrays import (
    best,
    dots,
    on_grid,
    smallest,
    stream,
    take,
)
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.world import World, affinity, draw_in_groups

START_SECONDS = 1_600_000_000
SECONDS_A_DAY = 86_400
# Times are multiples of this many seconds, which float64 holds exactly.
TICK = 2.0**-10
# Entries of an array of a block, about.
_BLOCK = 1 << 21


class Requests(NamedTuple):
    """Requests in order of time.

    Attributes:
      user: [n] int32.
      moment: [n] float64 in (0, 1), the share of the log's time that has passed.
      time: [n] float64 seconds, strictly ascending.
    """

    user: np.ndarray
    moment: np.ndarray
    time: np.ndarray

    def at(self, rows: slice | np.ndarray) -> "Requests":
        """Return the requests at rows [n], given by index, mask or slice."""
        return Requests(self.user[rows], self.moment[rows], self.time[rows])


def make_requests(world: World) -> Requests:
    """Draw users by their activity, and one time in each of equal spans of time.

    The time is in the first half of its span, so that all times differ.
    """
    config, n = world.config, world.config.requests
    rng = stream(config.seed, "requests")
    ends = np.cumsum(world.activity)
    user = np.searchsorted(ends, rng.random(n) * ends[-1], "right")
    place = np.arange(n) + rng.random(n) / 2
    span = config.days * SECONDS_A_DAY / n
    return Requests(
        user=np.minimum(user, config.users - 1).astype(np.int32),
        moment=(np.arange(n) + 0.5) / n,
        time=START_SECONDS + np.floor(place * span / TICK) * TICK,
    )


def share_of_time(config: SimulatorConfig, seconds: float) -> float:
    """Share of a log's time that has passed, from 0 to 1."""
    share = (seconds - START_SECONDS) / (config.days * SECONDS_A_DAY)
    return min(max(share, 0.0), 1.0)


def make_blocks(users: np.ndarray, largest: int) -> Iterator[slice]:
    """Blocks of successive requests in which no user occurs twice.

    The requests of a block can then be simulated at once: none depends on a click in
    the same block.

    Examples:
      >>> [(b.start, b.stop) for b in make_blocks(np.array([0, 1, 0, 2, 2]), 3)]
      [(0, 2), (2, 4), (4, 5)]
    """
    n = len(users)
    order = np.argsort(users, kind="stable")
    before = np.full(n, -1)
    same = users[order[1:]] == users[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    # The first row whose user also occurs in or after row `begin` ends the block.
    latest = np.maximum.accumulate(before)
    begin = 0
    while begin < n:
        end = min(int(np.searchsorted(latest, begin)), begin + largest)
        yield slice(begin, end)
        begin = end


def block_size(world: World) -> int:
    """Return the largest number of requests per block."""
    widest = max(3 * world.sizes.retrieved + world.config.history, len(world.centres))
    return max(1, _BLOCK // widest)


POPULAR, SIMILAR, TASTE, FILLER = range(4)
# Regions that the taste channel searches, clicked items that the similar one uses.
PROBES = 8
ANCHORS = 8
# Proposals per item of the quota: the surplus replaces repeated items.
RESERVE = 2


class Candidates(NamedTuple):
    """Retrieved items of requests.

    Attributes:
      items: [n, retrieved] int32, distinct in each row.
      channel: [n, retrieved] int8, POPULAR, SIMILAR, TASTE or FILLER.
    """

    items: np.ndarray
    channel: np.ndarray


def quotas(world: World) -> tuple[int, int, int]:
    """Return the number of items of each channel; their sum is ``retrieved``."""
    config, total = world.config, world.sizes.retrieved
    weights = (config.from_popular, config.from_similar, config.from_taste)
    ends = np.rint(np.cumsum(weights) / sum(weights) * total).astype(int).tolist()
    return ends[0], ends[1] - ends[0], ends[2] - ends[1]


def _popular(
    world: World, alive: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw items [n, number] that have appeared, in proportion to popularity."""
    mass = world.cumulative[alive - 1]
    target = np.floor(rng.random((len(alive), number)) * mass[:, None])
    place = np.searchsorted(world.cumulative, target.astype(np.int64), "right")
    return np.minimum(place, alive[:, None] - 1).astype(np.int32)


def _similar(
    world: World,
    history: np.ndarray,
    alive: np.ndarray,
    number: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw items [n, number] by authors of clicked items; -1 without clicks."""
    rows, clicks = len(history), (history >= 0).sum(axis=1)
    pick = np.floor(rng.random((rows, ANCHORS)) * clicks[:, None]).astype(np.int64)
    anchor = take(history, pick)
    author = np.where(anchor >= 0, world.authors.of[anchor], -1)
    uniform = rng.random((rows, ANCHORS, -(-number // ANCHORS)))
    drawn = draw_in_groups(world.authors, author, alive, uniform)
    # All anchors take turns, so that the first draws come from all of them.
    return drawn.swapaxes(1, 2).reshape(rows, -1)[:, :number]


def _taste(
    world: World,
    tastes: np.ndarray,
    alive: np.ndarray,
    number: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the best items [n, number] for a noisy taste in its nearest regions.

    Items are drawn at random from the regions whose centres have the highest dot
    products with the taste; of these, the highest dot products come first. -1 where a
    region is empty.
    """
    rows, probes = len(tastes), min(PROBES, len(world.centres))
    noise = rng.standard_normal(tastes.shape)
    noisy = on_grid(tastes + world.config.retrieval_noise * noise)
    cell = best(noisy @ world.centres.T, probes)
    uniform = rng.random((rows, probes, -(-number // probes)))
    drawn = draw_in_groups(world.cells, cell, alive, uniform).reshape(rows, -1)
    scores = dots(noisy, world.items[drawn])
    return take(drawn, best(np.where(drawn >= 0, scores, -np.inf), number))


def _proposals(
    world: World,
    tastes: np.ndarray,
    history: np.ndarray,
    alive: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return items [n, columns] in order of preference, and each column's channel."""
    popular, similar, taste = quotas(world)
    parts = (
        (POPULAR, popular, _popular(world, alive, RESERVE * popular, rng)),
        (SIMILAR, similar, _similar(world, history, alive, RESERVE * similar, rng)),
        (TASTE, taste, _taste(world, tastes, alive, RESERVE * taste, rng)),
    )
    first = [(name, items[:, :quota]) for name, quota, items in parts]
    more = [(name, items[:, quota:]) for name, quota, items in parts]
    ordered = first + more[::-1]
    widths = [items.shape[1] for _, items in ordered]
    channel = np.repeat([name for name, _ in ordered], widths)
    return np.concatenate([items for _, items in ordered], axis=1), channel


def _first_distinct(
    items: np.ndarray, clicked: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k columns [n, k] of distinct items, and whether they suffice.

    The first ``clicked`` columns, and every column that repeats one of their items,
    are used only where the others do not suffice. -1 stands for no item.
    """
    columns = items.shape[1]
    keys = (items.astype(np.int64) << 31) | np.arange(columns)
    keys.sort(axis=1)
    column, item = keys & ((1 << 31) - 1), keys >> 31
    usable = item >= 0
    usable[:, 1:] &= item[:, 1:] != item[:, :-1]
    last = column < clicked
    order = np.where(usable, column + np.where(last, columns, 0), 2 * columns)
    columns_of_items = take(column, smallest(order, k))
    return columns_of_items, (usable & ~last).sum(axis=1) >= k


def retrieve(
    world: World,
    tastes: np.ndarray,
    history: np.ndarray,
    alive: np.ndarray,
    rng: np.random.Generator,
) -> Candidates:
    """Distinct items for requests.

    In this order: the quotas of the popular, the similar and the taste channel, their
    surplus proposals, items from a random index on, and, if all items that have
    appeared do not suffice, items that the user clicked lately.
    """
    items, channel = _proposals(world, tastes, history, alive, rng)
    offset = np.floor(rng.random(len(items)) * alive).astype(np.int64)
    clicked, k = history.shape[1], world.sizes.retrieved
    items = np.concatenate([history, items], axis=1)
    channel = np.concatenate([np.full(clicked, FILLER), channel, np.full(k, FILLER)])
    columns, enough = _first_distinct(items, clicked, k)
    retrieved = take(items, columns)
    short = np.flatnonzero(~enough)
    if len(short):
        run = (offset[short, None] + np.arange(k)) % alive[short, None]
        longer = np.concatenate([items[short], run.astype(np.int32)], axis=1)
        columns[short], _ = _first_distinct(longer, clicked, k)
        retrieved[short] = take(longer, columns[short])
    return Candidates(retrieved, channel[columns].astype(np.int8))


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
