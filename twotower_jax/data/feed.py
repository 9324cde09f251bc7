"""Batches: training data resident on the device, and the order in which it is read."""

import bisect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.data.history import History
from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError

Draw = Callable[[np.random.Generator], np.ndarray]

# Epochs without a positive before reading gives up: with one expected positive an
# epoch, so many have a chance of e^-100.
EMPTY = 100


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

    Batch t holds the positions [t B, (t + 1) B) of the endless sequence of epochs,
    whatever the batch size, and is a function of (seed, step) alone: the step is the
    cursor. An epoch is every positive once, or what ``draw`` makes of the epoch's own
    generator, so a function of (seed, epoch).

    Cost: two epochs of rows are kept. With ``draw`` the lengths differ, so reading at
    a step of epoch e takes the lengths of the e epochs before; they are drawn once
    and kept as one number each. Reading on from the start draws each epoch once; a
    resume in epoch e draws e epochs first, and `positives` those that it counts.
    """

    def __init__(
        self, seed: int, number: int, batch_size: int, draw: Draw | None = None
    ):
        """Make the order of the positives 0 to number - 1.

        Args:
          seed: of the run.
          number: positives.
          batch_size: rows a batch.
          draw: generator -> rows [any number] of one epoch; none: every row once.
        """
        self._seed, self._number, self._batch = seed, number, batch_size
        self._draw = draw
        self._ends = [0]  # positives of the first 0, 1, 2, ... epochs
        self._epochs: dict[int, np.ndarray] = {}

    def positives(self, epochs: int) -> int:
        """Return the number of positives of the first ``epochs`` epochs.

        Raises:
          InputError: when epoch after epoch has none.
        """
        if self._draw is None:
            return epochs * self._number
        while len(self._ends) <= epochs:
            self._drawn(self._draw, len(self._ends) - 1)
        return self._ends[epochs]

    def batches(self, step: int, number: int) -> np.ndarray:
        """Return rows [number, batch_size] int32 of the batches from ``step`` on.

        Raises:
          InputError: when epoch after epoch has no positive.
        """
        position, end = step * self._batch, (step + number) * self._batch
        epoch, parts = self._epoch_of(position), []
        while position < end:
            begin = self.positives(epoch)
            part = self._epoch(epoch)[position - begin : end - begin]
            parts.append(part)
            position, epoch = position + len(part), epoch + 1
        return np.concatenate(parts).reshape(number, self._batch)

    def _epoch_of(self, position: int) -> int:
        if self._draw is None:
            return position // self._number
        while self._ends[-1] < position:
            self.positives(len(self._ends))
        return bisect.bisect_right(self._ends, position) - 1

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            rows = None if self._draw is None else self._drawn(self._draw, epoch)
            number = self._number if rows is None else len(rows)
            order = keys.generator(self._seed, "order", epoch).permutation(number)
            kept = {e: old for e, old in self._epochs.items() if e == epoch - 1}
            shuffled = order if rows is None else rows[order]
            self._epochs = {**kept, epoch: shuffled.astype(np.int32)}
        return self._epochs[epoch]

    def _drawn(self, draw: Draw, epoch: int) -> np.ndarray:
        """Return the rows of an epoch in no order, and remember how many they are."""
        rows = draw(keys.generator(self._seed, "positives", epoch))
        if epoch == len(self._ends) - 1:
            self._ends.append(self._ends[-1] + len(rows))
            if len(self._ends) > EMPTY and self._ends[-1] == self._ends[-1 - EMPTY]:
                raise InputError(
                    f"{EMPTY} epochs in a row have no positive, of {self._number:,}; "
                    "choose a positives.strategy that keeps more"
                )
        return rows
