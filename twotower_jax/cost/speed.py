"""The speed of a training: its work over the floors of a machine."""

from typing import NamedTuple

from twotower_jax.cost.accelerators import Accelerator
from twotower_jax.cost.machine import Floors
from twotower_jax.cost.work import Work

# What each kind of work is bound by.
BOUNDS = {
    "layers": "arithmetic",
    "transformer": "transformer",
    "scores": "arithmetic",
    "exponentials": "exponentials",
    "look-ups": "memory bandwidth",
    "rows": "memory bandwidth",
    "vectors": "memory bandwidth",
    "sorting": "sorting",
    "operations": "small operations",
}


class Speed(NamedTuple):
    """The expected time of a step on a machine whose floors were measured.

    Attributes:
      seconds: of one step by kind of work, the names of `BOUNDS`; one after another.
      bound: what most of the time is spent on.
    """

    seconds: dict[str, float]
    bound: str

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())


class Limit(NamedTuple):
    """A step on an accelerator that reaches the rates of its data sheet.

    Attributes:
      step: seconds, at least.
      bound: "arithmetic", "memory bandwidth" or "exchange".
    """

    step: float
    bound: str


def expected_speed(work: Work, floors: Floors) -> Speed:
    """Expected time of a step: the sum over kinds of work of amount over speed.

    Blocks of scores stay in a cache, and their bytes are part of the floors of products
    and exponentials.

    Examples:
      >>> work = Work(2e9, 0, 6e9, 1e9, 0, 0, 0, 0, 0, 0, 0)
      >>> floors = Floors(2e9, 2e9, 1, 2e9, 1, 1, 1, 1, 0.0)
      >>> speed = expected_speed(work, floors)
      >>> speed.step, speed.bound
      (4.5, 'arithmetic')
    """
    seconds = {
        "layers": work.layer_flop / floors.layer_flop,
        "transformer": work.sequence_flop / floors.sequence_flop,
        "scores": work.score_flop / floors.score_flop,
        "exponentials": work.exponentials / floors.exponentials,
        "look-ups": work.look_ups / floors.look_ups,
        "rows": work.row_moves / floors.row_moves,
        "vectors": work.vector_bytes / floors.bandwidth,
        "sorting": work.sorted_ids / floors.sorted_ids,
        "operations": work.operations * floors.operation,
    }
    shares: dict[str, float] = {}
    for name, value in seconds.items():
        shares[BOUNDS[name]] = shares.get(BOUNDS[name], 0.0) + value
    return Speed(seconds, max(shares, key=lambda bound: shares[bound]))


def limit(
    work: Work, accelerator: Accelerator, *, bf16: bool, exchanged: float = 0
) -> Limit | None:
    """Least time of a step on an accelerator: the largest of amounts over rates.

      max(FLOP / rate, bytes / bandwidth, bytes sent and received / link)

    Args:
      exchanged: bytes that a device sends to others; it receives as many.

    Returns:
      The limit; None where the data sheet has no such rate.

    References:
      Williams et al., Roofline, Communications of the ACM 2009.
    """
    rate = accelerator.bf16_flop if bf16 else accelerator.fp32_flop
    if rate is None:
        return None
    seconds = {
        "memory bandwidth": work.moved_bytes / accelerator.bandwidth,
        "arithmetic": work.flop / rate,
        "exchange": 2 * exchanged / accelerator.link,
    }
    bound = max(seconds, key=lambda name: seconds[name])
    return Limit(seconds[bound], bound)
