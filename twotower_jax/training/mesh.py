"""The mesh of devices: one axis, over which the rows of a batch are spread.

One device is a mesh of one, so that there is a single way to write the step. Tables,
data and samplers are whole on every device; the compiler sums gradients over the axis.
"""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.errors import InputError

AXIS = "batch"


def make_mesh(devices: int) -> Mesh:
    """Return a mesh of the first devices.

    Raises:
      InputError: when there are fewer.
    """
    found = jax.devices()
    if devices > len(found):
        raise InputError(
            f"training.devices={devices}, but jax sees {len(found)} "
            f"({found[0].device_kind}); lower it"
        )
    return Mesh(found[:devices], (AXIS,))


def whole(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Put arrays whole on every device of the mesh."""
    return jax.device_put(tree, whole(mesh))


def spread_rows(mesh: Mesh, rows: Any) -> jax.Array:
    """Put batches [K, B] on the mesh, the rows of each batch spread over it."""
    return jax.device_put(rows, NamedSharding(mesh, PartitionSpec(None, AXIS)))
