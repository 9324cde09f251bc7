"""The mesh of devices, and where the arrays of a training lie on it.

The mesh has two axes, ``data`` and ``table``. The rows of a batch are spread over all
of its devices. Tables and their optimizer states are spread by rows over the axis
``table`` (`twotower_jax.model.shards`) and copied along ``data``. Everything else is
whole on every device, and the compiler sums gradients over the mesh.

One device is a mesh of one by one, so that the step is written once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.errors import InputError
from twotower_jax.model.shards import BY_ROWS, DATA, TABLE, WHOLE, stored_rows


class MeshShape(NamedTuple):
    """Numbers of devices.

    Attributes:
      data: Copies of the tables.
      table: Devices over which the rows of a table are spread.
    """

    data: int = 1
    table: int = 1

    @property
    def devices(self) -> int:
        """Return the number of all devices."""
        return self.data * self.table


def make_mesh(shape: MeshShape) -> Mesh:
    """Mesh of the first devices.

    Args:
      shape: Numbers of devices.

    Raises:
      InputError: There are fewer devices.
    """
    present = jax.devices()
    if shape.devices > len(present):
        raise InputError(
            f"training.mesh.data={shape.data} times training.mesh.table={shape.table} "
            f"needs {shape.devices} devices, but jax sees {len(present)} "
            f"({present[0].device_kind}); lower them, or training.devices"
        )
    return jax.make_mesh(
        tuple(shape),
        (DATA, TABLE),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=present[: shape.devices],
    )


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
    spread = PartitionSpec(None, (DATA, TABLE))
    return jax.device_put(rows, NamedSharding(mesh, spread))


def in_place(state: Any) -> Any:
    """The state after a step, with its arrays where they were before it.

    Without it the compiler chooses, and the next dispatch is another program.

    Args:
      state: A state of training, within a program.
    """
    if jax.sharding.get_abstract_mesh().size <= 1:
        return state

    def keep(path: Any, leaf: jax.Array) -> jax.Array:
        spread = leaf.ndim and table_name(path) is not None
        return jax.lax.with_sharding_constraint(leaf, BY_ROWS if spread else WHOLE)

    return jax.tree_util.tree_map_with_path(keep, state)


def table_name(path: Any) -> str | None:
    """Name of the table at the path of an array, or None for what is no table.

    Args:
      path: As of ``jax.tree_util``; arrays of the optimizer have that of their table.
    """
    names = [str(getattr(one, "key", getattr(one, "name", ""))) for one in path]
    return names[names.index("tables") + 1] if "tables" in names[:-1] else None


class Layout(NamedTuple):
    """Where the arrays of a state lie.

    Attributes:
      mesh: Devices.
      rows: Rows of each table, without padding.
    """

    mesh: Mesh
    rows: Mapping[str, int]

    @property
    def shards(self) -> int:
        """Return the devices over which the rows of a table are spread."""
        return self.mesh.shape[TABLE]

    def stored(self, tree: Any) -> Any:
        """Shapes of a state as it is stored: tables are padded to whole blocks.

        Args:
          tree: A state, or its shapes, of any layout.

        Returns:
          The same tree of shapes, with the sharding of each array.
        """

        def place(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            shape, rows = leaf.shape, self.table_rows(path)
            if rows is None or not shape:  # such as the number of Adam's steps
                return jax.ShapeDtypeStruct(
                    shape, leaf.dtype, sharding=whole(self.mesh)
                )
            shape = stored_rows(rows, self.shards), *shape[1:]
            spread = NamedSharding(self.mesh, BY_ROWS)
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=spread)

        return jax.tree_util.tree_map_with_path(place, tree)

    def table_rows(self, path: Any) -> int | None:
        """Rows of the table at the path of an array, or None for what is no table.

        Args:
          path: As of ``jax.tree_util``.

        Returns:
          Its rows without padding; of an array of the optimizer, those of its table.
        """
        name = table_name(path)
        return None if name is None else self.rows.get(name)
