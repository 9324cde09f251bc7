"""Processes that train one model together, joined by ``jax.distributed``.

Each of them runs the same command on the same data and holds a part of the devices.
Every array is one array of all devices, and every function here that exchanges
something is called by all processes in the same order. The process with index 0 leads:
it alone writes files. A process by itself leads, and exchanges nothing.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding


def alone() -> bool:
    """Return whether this process trains by itself.

    Examples:
      >>> alone(), leads()
      (True, True)
    """
    # Asked first, because the number of processes starts the devices.
    return not jax.distributed.is_initialized() or jax.process_count() == 1


def leads() -> bool:
    """Return whether this process writes the files."""
    return alone() or jax.process_index() == 0


def put(value: Any, sharding: Sharding) -> jax.Array:
    """Put an array on devices, also on those of other processes."""
    spread = isinstance(value, jax.Array) and not value.is_fully_addressable
    if sharding.is_fully_addressable or spread:
        return jax.device_put(value, sharding)
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def on_host(array: Any) -> np.ndarray:
    """The whole array on the host; one that other processes have a part of too."""
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def gathered(values: np.ndarray) -> np.ndarray:
    """Return the values of all processes.

    Examples:
      >>> gathered(np.array([1, 2])).tolist()
      [[1, 2]]
    """
    if alone():
        return values[None]
    # Exchanged as bytes: jax would make float64 and int64 smaller.
    raw = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    found = np.asarray(multihost_utils.process_allgather(raw))
    return found.view(values.dtype).reshape(-1, *values.shape)


def gathered_texts(text: str) -> list[str]:
    """Return the texts of all processes.

    Examples:
      >>> gathered_texts("a")
      ['a']
    """
    raw = np.frombuffer(text.encode(), np.uint8)
    sizes = gathered(np.array([raw.size]))[:, 0]
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: raw.size] = raw
    rows = zip(gathered(padded), sizes, strict=True)
    return [row[:size].tobytes().decode() for row, size in rows]


def meet(place: str) -> None:
    """Wait until all processes are at this place of the program."""
    if not alone():
        multihost_utils.sync_global_devices(place)
