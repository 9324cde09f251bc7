"""What is clicked: examination, the true probability, histories."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.arrays import stream, take
from twotower_jax.data.simulator.funnel import Line, judge
from twotower_jax.data.simulator.requests import Requests, block_size, make_blocks
from twotower_jax.data.simulator.retrieval import Candidates, retrieve
from twotower_jax.data.simulator.world import World, alive_at, tastes_at
from twotower_jax.errors import InputError

# Requests of the pilot that the click rate is fitted on, and how many of one user.
PILOT_REQUESTS = 10_000
PILOT_REPEATS = 20


class Page(NamedTuple):
    """A block of requests that went through the funnel.

    Attributes:
      number: of the block.
      requests: [n].
      rows: their place among all requests.
      candidates: [n, retrieved].
      stages: what ended at RETRIEVED to RE_RANKED, and the page [n, exposed] itself.
      clicked: [n, exposed] bool, by position.
    """

    number: int
    requests: Requests
    rows: slice
    candidates: Candidates
    stages: dict[Stage, Line]
    clicked: np.ndarray


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) in float64, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64)))


def examination(world: World) -> np.ndarray:
    """Return the probability [exposed] that a position is looked at, from the top."""
    position = np.arange(1, world.sizes.exposed + 1, dtype=np.float64)
    return position**-world.config.position_bias


def _remember(history: np.ndarray, items: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Return histories [n, history] with the clicked ones of items [n, k] in front."""
    every = np.concatenate([np.where(hit, items, np.int32(-1)), history], axis=1)
    order = np.argsort(every < 0, axis=1, kind="stable")
    return take(every, order[:, : history.shape[1]])


def pages(
    world: World,
    requests: Requests,
    intercept: Callable[[np.ndarray], float],
    prefix: str = "",
) -> Iterator[Page]:
    """Send requests through the funnel, block by block, in order of time.

    Args:
      world: the world.
      requests: in order of time.
      intercept: from the affinities [n, exposed] of a block what is added to them to
        make them the logits of a click.
      prefix: of the names of the random streams.
    """
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
        found = retrieve(world, tastes, history[block.user], alive, streams[0])
        stages = judge(world, tastes, found.items, streams[1])
        page = stages[Stage.EXPOSED]
        probability = examined * sigmoid(page.liking + intercept(page.liking))
        clicked = streams[2].random(probability.shape) < probability
        history[block.user] = _remember(history[block.user], page.items, clicked)
        yield Page(number, block, rows, found, stages, clicked)


def solve_intercept(liking: np.ndarray, examined: np.ndarray, rate: float) -> float:
    """Return b such that the mean of examined * sigmoid(liking + b) is the rate."""
    low, high = -40.0 - float(liking.max()), 40.0 - float(liking.min())
    for _ in range(40):
        middle = (low + high) / 2
        mean = (examined * sigmoid(liking + middle)).mean()
        low, high = (middle, high) if mean < rate else (low, middle)
    return high


class RunningIntercept:
    """The mean of the intercepts that give each block so far the click rate."""

    def __init__(self, examined: np.ndarray, rate: float) -> None:
        self.examined, self.rate = examined, rate
        self.value, self.rows = 0.0, 0

    def __call__(self, liking: np.ndarray) -> float:
        """Solve for this block, and return the mean over the rows so far."""
        now = solve_intercept(liking, self.examined, self.rate)
        self.rows += len(liking)
        self.value += (now - self.value) * len(liking) / self.rows
        return self.value


def pilot_requests(world: World, requests: Requests) -> Requests:
    """Return about PILOT_REQUESTS of the requests: all, thinned, of some users.

    A user keeps about PILOT_REPEATS, spread over time, so that there are many users.
    These are equally spaced in the order of the lengths of their tastes, on which
    the affinity of what a user is shown depends most.
    """
    config = world.config
    thin = max(1, config.requests // (PILOT_REPEATS * config.users))
    requests = requests.at(slice(None, None, thin))
    step = max(1, len(requests.user) // PILOT_REQUESTS)
    tastes = tastes_at(world, np.arange(config.users), np.full(config.users, 0.5))
    chosen = np.zeros(config.users, bool)
    order = np.argsort((tastes**2).sum(axis=1), kind="stable")
    chosen[order[min(step, config.users) // 2 :: step]] = True
    rows = np.flatnonzero(chosen[requests.user])
    return requests.at(rows if len(rows) else slice(0, PILOT_REQUESTS))


def fit_intercept(world: World, requests: Requests) -> float:
    """Return the intercept that gives the exposures of a pilot the click rate.

    Raises:
      InputError: items are looked at less often than they are to be clicked.
    """
    rate, examined = world.config.click_rate, examination(world)
    highest = float(examined.mean())
    if rate > highest + 1e-9:
        raise InputError(
            f"data.simulator.click_rate={rate} cannot be reached: items are looked at "
            f"with probability {highest:.3f} on average; lower click_rate to that at "
            "most, or lower data.simulator.position_bias"
        )
    pilot = pages(
        world,
        pilot_requests(world, requests),
        RunningIntercept(examined, rate),
        "pilot ",
    )
    liking = np.concatenate([page.stages[Stage.EXPOSED].liking for page in pilot])
    # Rounded, so that the last bits of a mean do not enter the log.
    return round(solve_intercept(liking, examined, rate) * 2**20) / 2**20
