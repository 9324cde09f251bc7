"""The mesh of devices, where the arrays of a training lie on it, and what feeds them.

The mesh has two axes, ``data`` and ``table``. The rows of a batch are spread over all
of its devices. Tables and their optimizer states are spread by rows over the axis
``table`` (`twotower_jax.arrays.shards`) and copied along ``data``, and so are arrays
with an entry per item or user (alias table, log q), memories with a row per user
(mined items, k-th scores), the buckets of streamed frequencies, and all training data
(`twotower_jax.arrays.shards`). Everything else is whole on every device, and the
compiler sums gradients over the mesh.

One device is a mesh of one by one, so that the step is written once.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.arrays.processes import alone, put
from twotower_jax.arrays.shards import (
    BY_COLUMNS,
    BY_ROWS,
    DATA,
    TABLE,
    WHOLE,
    by_rows,
    place_rows,
    stored_rows,
    table_shards,
)
from twotower_jax.data.hard_pools import HardPools
from twotower_jax.errors import InputError
from twotower_jax.training.types import Program, TrainData

# Memories of the samplers that are spread, and the axis that is: a row per user, and
# buckets of the streaming frequency.
SPREAD = {"mined": 0, "kth_score": 0, "last": 1, "gap": 1}
SHARDINGS = (BY_ROWS, BY_COLUMNS)


class MeshShape(NamedTuple):
    """Numbers of devices."""

    data: int = 1  # copies of the tables
    table: int = 1  # devices over which the rows of a table are spread

    @property
    def devices(self) -> int:
        """Return the number of all devices."""
        return self.data * self.table


def make_mesh(shape: MeshShape) -> Mesh:
    """Mesh of the first devices."""
    present = jax.local_devices()
    if shape.devices > len(present):
        present = jax.devices()  # of all processes
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
    """The sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Put arrays whole on every device of the mesh."""
    return jax.tree.map(lambda leaf: put(leaf, whole(mesh)), tree)


def spread_rows(mesh: Mesh, rows: Any) -> jax.Array:
    """Put K batches [K, B] on the mesh, the rows of each spread over the devices."""
    spread = PartitionSpec(None, (DATA, TABLE))
    return put(rows, NamedSharding(mesh, spread))


def read_parts(mesh: Mesh, number: int, read: Callable[[slice], Any]) -> Any:
    """Put rows where tables have theirs; each process reads those of its devices."""
    if alone():
        return place_rows(mesh, read(slice(0, number)))
    spread = NamedSharding(mesh, PartitionSpec((DATA, TABLE)))
    own = spread.addressable_devices_indices_map((number,))
    parts = {device: read(part[0]) for device, part in own.items() if part}

    def joined(*leaves: np.ndarray) -> jax.Array:
        placed = list(map(jax.device_put, leaves, parts))
        shape = number, *leaves[0].shape[1:]
        made = jax.make_array_from_single_device_arrays(shape, spread, placed)
        return put(made, by_rows(mesh))

    return jax.tree.map(joined, *parts.values())


def in_place(state: Any) -> Any:
    """The state after a step, with its arrays where they were before it.

    Without it the compiler chooses, and the next dispatch is another program.
    """
    if jax.sharding.get_abstract_mesh().size <= 1:
        return state

    def keep(path: Any, leaf: jax.Array) -> jax.Array:
        spread = table_shards() > 1 and leaf.ndim and spread_name(path) is not None
        where = SHARDINGS[spread_axis(path)] if spread else WHOLE
        return jax.lax.with_sharding_constraint(leaf, where)

    return jax.tree_util.tree_map_with_path(keep, state)


def spread_name(path: Any) -> str | None:
    """Name of an array that is spread by rows, or None for one that is whole."""
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    if "tables" in names[:-1]:
        return names[names.index("tables") + 1]
    spread = names[:1] == ["samplers"] and names[-1] in SPREAD
    return names[-1] if spread else None


def spread_axis(path: Any) -> int:
    """Axis along which an array is spread."""
    return SPREAD.get(spread_name(path) or "", 0)


def padded(array: Any, shape: tuple[int, ...], mode: str) -> Any:
    """An array of another shape, with zeros ("constant") or its last entries."""
    more = [(0, max(0, to - now)) for to, now in zip(shape, array.shape, strict=True)]
    if not any(n for _, n in more):
        return array
    pad: Callable[..., Any] = np.pad if isinstance(array, np.ndarray) else jnp.pad
    return pad(array, more, mode=mode)


class Layout(NamedTuple):
    """Where the arrays of a state lie."""

    mesh: Mesh  # devices
    rows: Mapping[str, int]  # rows of each array that is spread, without padding

    @property
    def shards(self) -> int:
        """The devices over which the rows of a table are spread."""
        return self.mesh.shape[TABLE]

    def put(self, state: Any) -> Any:
        """Put a state where it is stored."""

        def place(leaf: jax.Array, stored: jax.ShapeDtypeStruct) -> jax.Array:
            return put(padded(leaf, stored.shape, "constant"), stored.sharding)

        return jax.tree.map(place, state, self.stored(state))

    def put_program(self, program: Program) -> Program:
        """Put a program on the devices: arrays by item or by user are spread."""

        def place(leaf: Any) -> jax.Array:
            if not leaf.ndim:
                return put(leaf, whole(self.mesh))
            shape = (stored_rows(len(leaf), self.shards),)
            return put(padded(leaf, shape, "edge"), by_rows(self.mesh))

        return jax.tree.map(place, program)

    def stored(self, tree: Any) -> Any:
        """Shapes of a state as it is stored: tables are padded to whole blocks."""

        def place(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            shape, rows = leaf.shape, self.rows_of(path)
            if rows is None or not shape:  # such as the number of Adam's steps
                return jax.ShapeDtypeStruct(
                    shape, leaf.dtype, sharding=whole(self.mesh)
                )
            axis, room = spread_axis(path), stored_rows(rows, self.shards)
            shape = *shape[:axis], room, *shape[axis + 1 :]
            spec = SHARDINGS[axis] if self.shards > 1 else WHOLE
            where = NamedSharding(self.mesh, spec)
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=where)

        return jax.tree_util.tree_map_with_path(place, tree)

    def rows_of(self, path: Any) -> int | None:
        """Rows of a spread array without padding, or None for one that is whole."""
        name = spread_name(path)
        return None if name is None else self.rows.get(name)


# --- where the training positives of a dispatch come from: the devices, or the host ---


class DeviceFeed:
    """All positives lie on the devices, and a dispatch reads its rows there."""

    def __init__(self, mesh: Mesh, data: TrainData):
        self._mesh = mesh
        self._data = place_rows(mesh, data)

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return all data and the rows [K, B] of K batches, on the devices."""
        return self._data, spread_rows(self._mesh, rows)


class HostFeed:
    """The positives lie on the host, and each dispatch gets those of its rows.

    The host gathers them while the device works on the dispatch before. Of several
    processes each reads a part of a dispatch, and gets the others from their devices.
    """

    def __init__(self, mesh: Mesh, data: TrainData):
        self._mesh = mesh
        own = {name: getattr(data, name) for name in ("queries", "item", "weight")}
        own["known"] = None if data.known is None else data.known.number
        self._own = jax.tree.map(np.asarray, own)
        self._pools = jax.tree.map(np.asarray, data.pools)
        none = self._rows(np.zeros(0, np.int32))
        self._others = place_rows(mesh, self._joined(data, none))

    def _rows(self, rows: np.ndarray, first: int = 0) -> dict[str, Any]:
        """Return the arrays of positives, with pools from place ``first`` on."""
        own = jax.tree.map(lambda values: values[rows], self._own)
        if self._pools is None:
            return own
        # A positive without a pool has that of another one, which is not read.
        item, log_prob, stage, of_row = self._pools
        of_row = of_row[rows]
        places = np.arange(first, first + len(rows), dtype=np.int32)
        arrays = item[of_row], log_prob[of_row], stage[of_row]
        return own | {"pools": HardPools(*arrays, np.where(of_row < 0, -1, places))}

    def _joined(self, data: TrainData, own: dict[str, Any]) -> TrainData:
        known = data.known and data.known._replace(number=own["known"])
        return data._replace(**own | {"known": known})

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return the positives of the rows [K, B], and their places in them."""
        flat = rows.ravel()
        own = read_parts(
            self._mesh, rows.size, lambda part: self._rows(flat[part], part.start or 0)
        )
        places = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return self._joined(self._others, own), spread_rows(self._mesh, places)
