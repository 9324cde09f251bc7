"""Where the training positives of a dispatch come from: the device, or the host."""

from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from twotower_jax.data.feed import Queries
from twotower_jax.data.hard_pools import HardPools
from twotower_jax.data.place_rows import place_rows
from twotower_jax.training.mesh import read_parts, spread_rows
from twotower_jax.training.types import TrainData

NONE: Any = np.zeros(0, np.int32)


class OfPositives(NamedTuple):
    """The arrays of training data with a row per positive, of m positives.

    Attributes:
      queries: Their queries.
      item: [m] int32 clicked items.
      pools: The pools of the log; or None. On the host, those of the m positives, one
        each.
      known: [m] int32 numbers of items known at them; or None.
      weight: [m] weights; or None.
    """

    queries: Queries
    item: Any
    pools: HardPools | None
    known: Any
    weight: Any


def _of_positives(data: TrainData) -> OfPositives:
    return OfPositives(
        data.queries,
        data.item,
        data.pools,
        None if data.known is None else data.known.number,
        data.weight,
    )


def _with_positives(data: TrainData, own: OfPositives) -> TrainData:
    """Return data with other positives."""
    known = data.known
    return data._replace(
        queries=own.queries,
        item=own.item,
        pools=own.pools,
        known=None if known is None else known._replace(number=own.known),
        weight=own.weight,
    )


def _pools_of(pools: HardPools, rows: np.ndarray, first: int) -> HardPools:
    """Return the pools of positives, one for each of the rows from place first on."""
    of_row = pools.of_row[rows]
    places = np.arange(first, first + len(rows), dtype=np.int32)
    places = np.where(of_row < 0, -1, places)
    # A positive without a pool has that of another one, which is not read.
    return HardPools(
        pools.item[of_row], pools.log_prob[of_row], pools.stage[of_row], places
    )


class Feed(Protocol):
    """Data and rows of a dispatch, on the devices."""

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return the data of a dispatch and the rows [K, B] of its batches in them.

        Args:
          rows: [K, B] int32 positives of K batches.
        """
        ...


class DeviceFeed:
    """All positives lie on the devices, and a dispatch reads its rows there."""

    def __init__(self, mesh: Mesh, data: TrainData):
        """Put the data on the devices."""
        self._mesh = mesh
        self._data = place_rows(mesh, data)

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return all data and the rows."""
        return self._data, spread_rows(self._mesh, rows)


class HostFeed:
    """The positives lie on the host, and each dispatch gets those of its rows.

    The host gathers them while the device works on the dispatch before. Of several
    processes each reads a part of a dispatch, and gets the others from their devices.

    Args:
      data: Training positives and their features; the arrays with a row per positive
        are arrays of numpy, such as memory maps.
    """

    def __init__(self, mesh: Mesh, data: TrainData):
        """Put what is no array of positives on the devices."""
        self._mesh = mesh
        self._own = jax.tree.map(np.asarray, _of_positives(data))
        self._others = place_rows(mesh, _with_positives(data, self._rows(NONE)))

    def _rows(self, rows: np.ndarray, first: int = 0) -> OfPositives:
        own, pools = self._own._replace(pools=None), self._own.pools
        return jax.tree.map(lambda values: values[rows], own)._replace(
            pools=None if pools is None else _pools_of(pools, rows, first)
        )

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return the positives of the rows, and their places."""
        flat = rows.ravel()
        own = read_parts(
            self._mesh,
            rows.size,
            lambda part: self._rows(flat[part], part.start or 0),
        )
        places = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return _with_positives(self._others, own), spread_rows(self._mesh, places)
