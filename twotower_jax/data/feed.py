"""Batches: training data resident on the device, and the order in which it is read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.data.features import History
from twotower_jax.data.log import Feature


class Queries(NamedTuple):
    """What is known of queries: [n] users and their spans of the history, or None."""

    user: jax.Array
    begin: jax.Array | None
    end: jax.Array | None


class Entities(NamedTuple):
    """Features of all users and items, resident on the device.

    Attributes:
      query, candidate: arrays by feature name, first axis the user or item code.
      history: [clicks] int32 items of all histories, or None.
    """

    query: dict[str, jax.Array]
    candidate: dict[str, jax.Array]
    history: jax.Array | None


class TrainData(NamedTuple):
    """Training positives: [n] queries and the [n] int32 items that they clicked."""

    queries: Queries
    item: jax.Array
    entities: Entities


def make_queries(user: np.ndarray, history: History | None) -> Queries:
    """Put queries on the device."""
    begin = end = None
    if history is not None:
        begin, end = jnp.asarray(history.begin), jnp.asarray(history.end)
    return Queries(jnp.asarray(user, jnp.int32), begin, end)


def device_features(features: dict[str, Feature], names: tuple[str, ...]) -> dict:
    """Put the named features on the device; "id" and "history" have no array."""
    return {n: jnp.asarray(features[n].values) for n in names if n in features}


class Order:
    """The order of reading: a shuffle an epoch, batches cut from their sequence.

    Batch t holds the positions [t B, (t + 1) B) of the endless sequence of epochs, so
    each positive is read once an epoch whatever the batch size, and a batch is a
    function of (seed, step) alone: the step is the cursor.
    """

    def __init__(self, seed: int, number: int, batch_size: int):
        self._seed, self._number, self._batch = seed, number, batch_size
        self._epochs: dict[int, np.ndarray] = {}

    def batches(self, step: int, number: int) -> np.ndarray:
        """Return rows [number, batch_size] int32 of the batches from ``step`` on."""
        position = np.arange(step * self._batch, (step + number) * self._batch)
        epoch, place = np.divmod(position, self._number)
        rows = np.empty(len(position), np.int32)
        for one in range(epoch[0], epoch[-1] + 1):
            here = epoch == one
            rows[here] = self._epoch(one)[place[here]]
        return rows.reshape(number, self._batch)

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            for old in [e for e in self._epochs if e < epoch - 1]:
                del self._epochs[old]
            shuffle = keys.generator(self._seed, "order", epoch).permutation
            self._epochs[epoch] = shuffle(self._number).astype(np.int32)
        return self._epochs[epoch]
