"""The log of a world: the rows that are kept per request, and the FunnelLog."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.simulator.arrays import choose, stream, take
from twotower_jax.data.simulator.clicks import Page, fit_intercept, pages
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.funnel import Requests, make_requests
from twotower_jax.data.simulator.world import (
    Sizes,
    World,
    item_features,
    make_world,
    user_features,
)

DISCARDED = (Stage.RE_RANKED, Stage.RANKED, Stage.PRE_RANKED, Stage.RETRIEVED)


class Prepared(NamedTuple):
    """A world, its requests, and the intercept of the logit of a click."""

    world: World
    requests: Requests
    intercept: float


class LogBlock(NamedTuple):
    """Rows of a log, with users and items as indices of the world.

    Attributes:
      user: [n] int32.
      item: [n] int32.
      stage: [n] int8.
      time: [n] float64 seconds.
      request: [n] int64.
      rank: [n] int32.
    """

    user: np.ndarray
    item: np.ndarray
    stage: np.ndarray
    time: np.ndarray
    request: np.ndarray
    rank: np.ndarray


# Types of the columns of a LogBlock.
TYPES = (np.int32, np.int32, np.int8, np.float64, np.int64, np.int32)


@functools.lru_cache(maxsize=2)
def _prepared(config: SimulatorConfig) -> Prepared:
    world = make_world(config)
    requests = make_requests(world)
    for part in (*world, *world.authors, *world.cells, *requests):
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
    return Prepared(world, requests, fit_intercept(world, requests))


def prepare(config: SimulatorConfig) -> Prepared:
    """World, requests and intercept of a configuration; the last two are cached."""
    # A copy, because a configuration can be changed after it became a key.
    return _prepared(replace(config))


def kept_sizes(sizes: Sizes, kept: int) -> dict[Stage, int]:
    """Number of rows per request and stage in the log; clicked counts as exposed."""
    ends = {
        Stage.RE_RANKED: sizes.re_ranked - sizes.exposed,
        Stage.RANKED: sizes.ranked - sizes.re_ranked,
        Stage.PRE_RANKED: sizes.pre_ranked - sizes.ranked,
        Stage.RETRIEVED: sizes.retrieved - sizes.pre_ranked,
    }
    rows = {stage: min(kept, size) for stage, size in ends.items()}
    return {Stage.EXPOSED: sizes.exposed} | rows


def to_rows(world: World, page: Page) -> LogBlock:
    """Rows of a block: the page from its top, then the discarded items.

    Of each discarded stage ``kept`` items are drawn; they keep their rank among all
    items that ended there.
    """
    config, rng = world.config, stream(world.config.seed, "keep", page.number)
    shown = page.stages[Stage.EXPOSED].items
    n, exposed = shown.shape
    items, ranks = [shown], [np.tile(np.arange(exposed), (n, 1))]
    stages = [np.where(page.clicked, int(Stage.CLICKED), int(Stage.EXPOSED))]
    for stage in DISCARDED:
        ended = page.stages[stage].items
        rank = choose(rng, n, ended.shape[1], config.kept)
        items.append(take(ended, rank))
        ranks.append(rank)
        stages.append(np.full(rank.shape, int(stage)))
    item = np.concatenate(items, axis=1)
    width, request = item.shape[1], np.arange(page.rows.start, page.rows.stop)
    columns = LogBlock(
        user=np.repeat(page.requests.user, width),
        item=item.ravel(),
        stage=np.concatenate(stages, axis=1).ravel(),
        time=np.repeat(page.requests.time, width),
        request=np.repeat(request, width),
        rank=np.concatenate(ranks, axis=1).ravel(),
    )
    return LogBlock(
        *(x.astype(t, copy=False) for x, t in zip(columns, TYPES, strict=True))
    )


def simulate_blocks(config: SimulatorConfig) -> Iterator[LogBlock]:
    """Yield the rows of the log of ``simulate`` block by block, in order of time."""
    world, requests, intercept = prepare(config)
    for page in pages(world, requests, lambda _: intercept):
        yield to_rows(world, page)


class _Codes:
    """Codes of ids 0..n-1 in order of first appearance."""

    def __init__(self, n: int) -> None:
        self.code = np.full(n, -1, np.int32)
        self.ids: list[np.ndarray] = []
        self.size = 0

    def encode(self, ids: np.ndarray) -> np.ndarray:
        """Return the codes [n] int32 of ids [n], giving new ones to new ids."""
        new, first = np.unique(ids[self.code[ids] < 0], return_index=True)
        new = new[np.argsort(first)]
        self.code[new] = np.arange(self.size, self.size + len(new))
        self.size += len(new)
        self.ids.append(new)
        return self.code[ids]

    def names(self, name: str) -> pl.Series:
        """Return the ids by code."""
        return pl.Series(name, np.concatenate(self.ids).astype(np.int64))


def simulate(config: SimulatorConfig) -> FunnelLog:
    """Log of a simulated world, a pure function of its configuration.

    One row per item on the page of a request (EXPOSED or CLICKED), and per ``kept``
    items of each stage before it, in order of time. Ids are the indices of users and
    items in the world. The catalogue is every item; users without a request are not
    in the log.

    Examples:
      >>> log = simulate(SimulatorConfig(users=5, items=40, requests=20, kept=1))
      >>> len(log.user), log.num_items
      (280, 40)
    """
    world = prepare(config).world
    per_request = sum(kept_sizes(world.sizes, config.kept).values())
    log = LogBlock(*(np.empty(config.requests * per_request, t) for t in TYPES))
    users, items = _Codes(config.users), _Codes(config.items)
    begin = 0
    for rows in simulate_blocks(config):
        end = begin + len(rows.user)
        coded = rows._replace(
            user=users.encode(rows.user), item=items.encode(rows.item)
        )
        for whole, part in zip(log, coded, strict=True):
            whole[begin:end] = part
        begin = end
    items.encode(np.arange(config.items))
    user_ids, item_ids = users.names("user"), items.names("item")
    return FunnelLog(
        **log._asdict(),
        user_ids=user_ids,
        item_ids=item_ids,
        user_features=user_features(world, user_ids),
        item_features=item_features(world, item_ids),
    )
