"""The source ``simulator``: the log of the embedded world, and its truth."""

from twotower_jax.config.data import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.simulator import simulate
from twotower_jax.errors import InputError


def load(config: DataConfig) -> FunnelLog:
    """Return the log of the embedded world.

    Raises:
      InputError: the world does not fit into memory, or its click rate is impossible.
    """
    world = config.simulator
    try:
        return simulate(world)
    except MemoryError:
        raise InputError(
            f"data.simulator: users={world.users}, items={world.items} and requests="
            f"{world.requests} need more memory than is available; lower them"
        ) from None
