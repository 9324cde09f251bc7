"""The memories in which the parts of a training lie, as this process sees them."""

from typing import Any, NamedTuple

import jax

from twotower_jax.config import Config
from twotower_jax.cost.memory import HOST, Part, memory_parts, shared_bytes
from twotower_jax.cost.shape import Shape
from twotower_jax.data.processes import alone
from twotower_jax.data.sizes import Sizes
from twotower_jax.run.shape import training_shape

HOST_ROOM = "this host has {} GiB"


class Case(NamedTuple):
    """A configuration and the sizes of its data, which decide the memory."""

    config: Config
    sizes: Sizes

    @property
    def shape(self) -> Shape:
        """Return the shape of the training."""
        return training_shape(self.config, self.sizes)


class Memory(NamedTuple):
    """A memory in which parts of a training lie.

    Attributes:
      what: those parts together, in words.
      room: whose memory it is, in words with {} for its GiB.
      size: bytes that it has.
      devices: number of devices whose parts lie in it; None: all of the mesh.
      host: whether the parts of the host lie in it too.
    """

    what: str
    room: str
    size: int
    devices: int | None = None
    host: bool = True

    def parts(self, shape: Shape) -> list[Part]:
        """Return the parts in it, each with the bytes of all its copies.

        Args:
          shape: of the training.
        """
        devices = shape.devices if self.devices is None else self.devices
        return [
            Part(part.name, shared_bytes([part], devices), part.place)
            for part in memory_parts(shape)
            if self.host or part.place != HOST
        ]

    def needed(self, shape: Shape) -> int:
        """Return the bytes of the parts in it.

        Args:
          shape: of the training.
        """
        return sum(part.size for part in self.parts(shape))


def find_memories(ram: int, mesh_devices: int) -> list[Memory]:
    """Return the memories that a training needs on the host of this process.

    Devices of a CPU lie in the memory of the host. A process that is joined to others
    counts its own devices and its own copy of the host's parts: two processes on one
    host are not counted together.

    Args:
      ram: bytes of memory of this host.
      mesh_devices: number of devices of the mesh, of all processes together.

    Returns:
      One memory on a CPU. On an accelerator that of a device, which is left out where
      jax does not know its size, and that of the host.
    """
    own = jax.local_devices()
    if own[0].platform != "cpu":
        host = Memory("the host's part of the training", HOST_ROOM, ram, 0)
        return [*_of_device(own[:mesh_devices]), host]
    if alone():
        return [Memory("the whole training", "this machine has {} GiB", ram)]
    number = min(mesh_devices, len(own))
    what = f"the part of this process ({number} of {mesh_devices} devices)"
    return [Memory(what, HOST_ROOM, ram, number)]


def _of_device(devices: list[Any]) -> list[Memory]:
    """Return the memory of the smallest device, [] where none is known."""
    sizes = [(one.memory_stats() or {}).get("bytes_limit") for one in devices]
    known = [size for size in sizes if size]
    if not known:
        return []
    room = f"jax may use {{}} GiB of each device ({devices[0].device_kind})"
    return [Memory("the training on each device", room, min(known), 1, host=False)]


def lacking(case: Case, memories: list[Memory]) -> int:
    """Return the bytes that are lacking in all memories together; 0: it fits.

    Args:
      case: the training.
      memories: of `find_memories`.
    """
    shape = case.shape
    return sum(max(0, one.needed(shape) - one.size) for one in memories)
