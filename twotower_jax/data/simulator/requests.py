"""Users and times of requests, and blocks of requests."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from twotower_jax.config.simulator import SimulatorConfig
from twotower_jax.data.simulator.arrays import stream
from twotower_jax.data.simulator.world import World

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
