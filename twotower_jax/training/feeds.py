"""Where the training positives of a dispatch come from: the device, or the host."""

from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from twotower_jax.training.mesh import everywhere, spread_rows
from twotower_jax.training.types import OfPositives, TrainData

NONE = np.zeros(0, np.int32)


class Feed(Protocol):
    """Data and rows of a dispatch, on the devices."""

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return the data of a dispatch and the rows [K, B] of its batches in them.

        Args:
          rows: [K, B] int32 positives of K batches.
        """
        ...


class DeviceFeed:
    """All positives lie on the devices, and a dispatch reads its rows there.

    Args:
      mesh: Devices.
      data: Training positives and their features.
    """

    def __init__(self, mesh: Mesh, data: TrainData):
        """Put the data on the devices."""
        self._mesh, self._data = mesh, everywhere(mesh, data)

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return all data and the rows."""
        return self._data, spread_rows(self._mesh, rows)


class HostFeed:
    """The positives lie on the host, and each dispatch gets those of its rows.

    The host gathers them while the device works on the dispatch before.

    Args:
      mesh: Devices.
      data: Training positives and their features; the arrays with a row per positive
        are arrays of numpy, such as memory maps.
    """

    def __init__(self, mesh: Mesh, data: TrainData):
        """Put what is no array of positives on the devices."""
        self._mesh = mesh
        self._own = jax.tree.map(np.asarray, data.of_positives())
        self._others = everywhere(mesh, data.with_positives(self._rows(NONE)))

    def _rows(self, rows: np.ndarray) -> OfPositives:
        return jax.tree.map(lambda values: values[rows], self._own)

    def __call__(self, rows: np.ndarray) -> tuple[TrainData, jax.Array]:
        """Return the positives of the rows, and their places."""
        own = everywhere(self._mesh, self._rows(rows.ravel()))
        places = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        return self._others.with_positives(own), spread_rows(self._mesh, places)
