"""The mesh of devices: one axis, over which the rows of a batch are spread.

One device is a mesh of size one, so that the step is written once. Tables, data and
samplers are whole on every device; the compiler sums gradients over the axis.
"""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.errors import InputError

AXIS = "batch"


def make_mesh(devices: int) -> Mesh:
    """Mesh of the first devices.

    Args:
      devices: Number of devices.

    Raises:
      InputError: There are fewer devices.
    """
    present = jax.devices()
    if devices > len(present):
        raise InputError(
            f"training.devices={devices}, but jax sees {len(present)} "
            f"({present[0].device_kind}); lower it"
        )
    return Mesh(present[:devices], (AXIS,))


def whole(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Put arrays whole on every device of the mesh.

    Args:
      mesh: Devices.
      tree: Tree of arrays.

    Returns:
      The same tree, on the devices.
    """
    return jax.device_put(tree, whole(mesh))


def spread_rows(mesh: Mesh, rows: Any) -> jax.Array:
    """Put batches on the mesh, the rows of each batch spread over the devices.

    Args:
      mesh: Devices; their number divides B.
      rows: [K, B] int32 positives of K batches.

    Returns:
      [K, B] int32, each device with its part of axis 1.
    """
    return jax.device_put(rows, NamedSharding(mesh, PartitionSpec(None, AXIS)))
