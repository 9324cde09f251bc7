"""Who asks when, and how requests go into blocks."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from twotower_jax.data.simulator.arrays import stream
from twotower_jax.data.simulator.world import World

START_SECONDS = 1_600_000_000
SECONDS_A_DAY = 86_400
# Times are multiples of this many seconds, which float64 holds exactly.
TICK = 2.0**-10
# A block's arrays have about so many entries.
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
        """Return some of the requests."""
        return Requests(self.user[rows], self.moment[rows], self.time[rows])


def make_requests(world: World) -> Requests:
    """Draw users by their activity, and one time in each of equal spans of time.

    The time is in the first half of its span, so that no two are the same.
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


def make_blocks(users: np.ndarray, largest: int) -> Iterator[slice]:
    """Cut users [n] into runs of at most ``largest`` in which no user comes twice.

    The requests of a block can then be handled at once: none depends on what
    another one's user clicked in it.
    """
    n = len(users)
    order = np.argsort(users, kind="stable")
    before = np.full(n, -1)
    same = users[order[1:]] == users[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    # The first row whose user was there in or after row `begin` ends the block.
    latest = np.maximum.accumulate(before)
    begin = 0
    while begin < n:
        end = min(int(np.searchsorted(latest, begin)), begin + largest)
        yield slice(begin, end)
        begin = end


def block_size(world: World) -> int:
    """Return the most requests that a block has."""
    widest = max(3 * world.sizes.retrieved + world.config.history, len(world.centres))
    return max(1, _BLOCK // widest)
