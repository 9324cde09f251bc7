"""The source ``simulator``: the log of the embedded world, and its truth."""

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.record import simulate
from twotower_jax.errors import InputError

# Least bytes of a user, an item, and a row of a request while a world is made.
OF_USER, OF_ITEM, OF_ROW = 64, 64, 16


def load(config: DataConfig) -> FunnelLog:
    """Return the log of the embedded world."""
    world = config.simulator
    _check_memory(world)
    try:
        return simulate(world)
    except MemoryError:
        raise InputError(
            f"data.simulator: users={world.users}, items={world.items} and requests="
            f"{world.requests} need more memory than is available; lower them"
        ) from None


def _check_memory(world: SimulatorConfig) -> None:
    """Refuse a world that would not fit into memory before it is made."""
    needs = {
        "users": OF_USER * world.users,
        "items": OF_ITEM * world.items,
        "requests": OF_ROW * world.exposed * world.requests,
    }
    largest = max(needs, key=lambda name: needs[name])
    if sum(needs.values()) > machine_memory():
        raise InputError(
            f"data.simulator.{largest}={getattr(world, largest)} needs at least "
            f"{needs[largest] / GIB:,.0f} GiB, and this machine has "
            f"{machine_memory() / GIB:,.0f} GiB; lower it"
        )
