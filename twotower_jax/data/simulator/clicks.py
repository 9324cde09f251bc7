"""Clicks: examination, the true probability, histories."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.arrays import stream, take
from twotower_jax.data.simulator.funnel import (
    Candidates,
    Ranking,
    Requests,
    block_size,
    judge,
    make_blocks,
    retrieve,
)
from twotower_jax.data.simulator.world import World, alive_at, tastes_at
from twotower_jax.errors import InputError

# Requests of the pilot on which the intercept is fitted, in all and per user.
PILOT_REQUESTS = 10_000
PILOT_REPEATS = 20


class Page(NamedTuple):
    """A block of requests after the funnel.

    Attributes:
      number: number of the block.
      requests: [n] the requests.
      rows: their places among all requests.
      candidates: [n, retrieved] the retrieved items.
      stages: the items that ended at RETRIEVED to RE_RANKED, and the page
        [n, exposed] itself at EXPOSED.
      clicked: [n, exposed] bool, by position.
    """

    number: int
    requests: Requests
    rows: slice
    candidates: Candidates
    stages: dict[Stage, Ranking]
    clicked: np.ndarray


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function 1 / (1 + exp(-x)) in float64, without overflow.

    Examples:
      >>> sigmoid(np.array([0.0, -1e3, 1e3])).tolist()
      [0.5, 0.0, 1.0]
    """
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64)))


def examination(world: World) -> np.ndarray:
    """Return the probability [exposed] that a position is examined, from the top."""
    position = np.arange(1, world.sizes.exposed + 1, dtype=np.float64)
    return position**-world.config.position_bias


def _remember(history: np.ndarray, items: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Return histories [n, history] with the clicked of the items [n, k] in front."""
    every = np.concatenate([np.where(hit, items, np.int32(-1)), history], axis=1)
    order = np.argsort(every < 0, axis=1, kind="stable")
    return take(every, order[:, : history.shape[1]])


def pages(
    world: World,
    requests: Requests,
    intercept: Callable[[np.ndarray], float],
    prefix: str = "",
) -> Iterator[Page]:
    """Pages of the requests, block by block, in order of time."""
    config = world.config
    history = np.full((config.users, config.history), -1, np.int32)
    examined = examination(world)
    blocks = make_blocks(requests.user, block_size(world))
    for number, rows in enumerate(blocks):
        block = requests.at(rows)
        streams = [
            stream(config.seed, prefix + name, number)
            for name in ("retrieve", "judge", "click")
        ]
        tastes = tastes_at(world, block.user, block.moment)
        alive = alive_at(world, block.moment)
        candidates = retrieve(world, tastes, history[block.user], alive, streams[0])
        stages = judge(world, tastes, candidates.items, streams[1])
        page = stages[Stage.EXPOSED]
        probability = examined * sigmoid(page.affinities + intercept(page.affinities))
        clicked = streams[2].random(probability.shape) < probability
        history[block.user] = _remember(history[block.user], page.items, clicked)
        yield Page(number, block, rows, candidates, stages, clicked)


def solve_intercept(affinities: np.ndarray, examined: np.ndarray, rate: float) -> float:
    """Intercept b such that the mean of examined * sigmoid(affinities + b) is the rate.

    Examples:
      >>> b = solve_intercept(np.zeros((1, 2)), np.ones(2), 0.25)  # the logit of 1/4
      >>> round(b, 4)
      -1.0986
    """
    low, high = -40.0 - float(affinities.max()), 40.0 - float(affinities.min())
    for _ in range(40):
        middle = (low + high) / 2
        mean = (examined * sigmoid(affinities + middle)).mean()
        low, high = (middle, high) if mean < rate else (low, middle)
    return high


class RunningIntercept:
    """The mean of the intercepts that give each block so far the click rate."""

    def __init__(self, examined: np.ndarray, rate: float) -> None:
        self.examined, self.rate = examined, rate
        self.value, self.rows = 0.0, 0

    def __call__(self, affinities: np.ndarray) -> float:
        """Return the mean of the intercepts over the rows up to this block."""
        now = solve_intercept(affinities, self.examined, self.rate)
        self.rows += len(affinities)
        self.value += (now - self.value) * len(affinities) / self.rows
        return self.value


def pilot_requests(world: World, requests: Requests) -> Requests:
    """Sample of about PILOT_REQUESTS of the requests.

    A user keeps about PILOT_REPEATS requests, spread over time, so that there are many
    users. The users are equally spaced in the order of the lengths of their tastes,
    on which the affinities of shown items depend most.
    """
    config = world.config
    thin = max(1, config.requests // (PILOT_REPEATS * config.users))
    requests = requests.at(slice(None, None, thin))
    step = max(1, len(requests.user) // PILOT_REQUESTS)
    tastes = tastes_at(world, np.arange(config.users), np.full(config.users, 0.5))
    in_pilot = np.zeros(config.users, bool)
    order = np.argsort((tastes**2).sum(axis=1), kind="stable")
    in_pilot[order[min(step, config.users) // 2 :: step]] = True
    rows = np.flatnonzero(in_pilot[requests.user])
    return requests.at(rows if len(rows) else slice(0, PILOT_REQUESTS))


def fit_intercept(world: World, requests: Requests) -> float:
    """Intercept at which the mean P(click) of a pilot's exposures is the click rate."""
    rate, examined = world.config.click_rate, examination(world)
    highest = float(examined.mean())
    if rate > highest + 1e-9:
        raise InputError(
            f"data.simulator.click_rate={rate} cannot be reached: an item is examined "
            f"with probability {highest:.3f} on average; lower click_rate to at most "
            "that, or lower data.simulator.position_bias"
        )
    pilot = pages(
        world,
        pilot_requests(world, requests),
        RunningIntercept(examined, rate),
        "pilot ",
    )
    affinities = np.concatenate(
        [page.stages[Stage.EXPOSED].affinities for page in pilot]
    )
    # Rounded, so that the last bits of a mean do not enter the log.
    return round(solve_intercept(affinities, examined, rate) * 2**20) / 2**20
