"""Batches: training data resident on the device, and the order in which it is read."""

import bisect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax import keys
from twotower_jax.data.history import History
from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError

Draw = Callable[[np.random.Generator], np.ndarray]

# Epochs in a row without a positive before an error: with one expected positive per
# epoch this has probability e^-100.
EMPTY = 100


class Queries(NamedTuple):
    """Queries: users, and the parts of their histories that may be seen.

    Attributes:
      user: [n] int32 codes.
      begin, end: [n] int32 spans of ``Entities.history``, or None without histories.
    """

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
    """Queries on the device."""
    begin = end = None
    if history is not None:
        begin, end = jnp.asarray(history.begin), jnp.asarray(history.end)
    return Queries(jnp.asarray(user, jnp.int32), begin, end)


def host_queries(user: np.ndarray, history: History | None) -> Queries:
    """Queries on the host, as arrays of numpy."""
    spans = (None, None) if history is None else (history.begin, history.end)
    # They become arrays of jax a dispatch at a time.
    return Queries(*cast(Any, (user, *spans)))


def feature_arrays(
    features: dict[str, Feature], names: tuple[str, ...]
) -> dict[str, Any]:
    """Arrays of features, of numpy; they are put on the devices as they are used."""
    return {n: features[n].values for n in names if n in features}


class Order:
    """Order in which positives are read: one pass per epoch, cut into batches.

    A pass is shuffled, or in the order of time (equal times: by row; the copies of a
    resampled positive stand together), or has the rows of each sequence in their order,
    the sequences shuffled.

    Batch t holds the positions [t B, (t + 1) B) of the endless sequence of epochs
    and is a function of (seed, step) alone, so that a checkpoint stores no cursor. An
    epoch is every positive once, or the rows that ``draw`` returns for the generator
    of the epoch, hence a function of (seed, epoch).

    Cost: two epochs of rows are kept, and the next one is made in a thread while one is
    read: numpy shuffles without the interpreter's lock. With ``draw`` epochs differ in
    length, so reading at a step of epoch e needs the lengths of the e epochs before;
    each is drawn once and kept as one number. Reading from the start draws each epoch
    once; a resume in epoch e first draws e epochs.

    Examples:
      >>> order = Order(seed=0, number=5, batch_size=2)
      >>> first = order.batches(step=0, number=5)
      >>> first.shape, sorted(first.ravel()[:5].tolist())
      ((5, 2), [0, 1, 2, 3, 4])
      >>> bool((Order(0, 5, 2).batches(step=3, number=2) == first[3:]).all())
      True
      >>> Order(0, 4, 2, time=np.array([9, 3, 7, 3])).batches(0, 3).tolist()
      [[1, 3], [2, 0], [1, 3]]
      >>> users = History(np.zeros(4), begin=np.array([3, 0, 3, 0]),
      ...     end=np.array([5, 1, 4, 2]))
      >>> Order(0, 4, 4, sequences=users).batches(0, 1).tolist()
      [[2, 0, 1, 3]]
    """

    def __init__(
        self,
        seed: int,
        number: int,
        batch_size: int,
        draw: Draw | None = None,
        time: np.ndarray | None = None,
        sequences: History | None = None,
    ):
        """Store the arguments; nothing is drawn yet.

        Args:
          draw: generator -> rows [any number] of one epoch; None: every row once.
          time: [number] moments of the positives, which order each pass; None: a pass
            is shuffled.
          sequences: spans [number] of the positives, with one beginning per sequence;
            None: rows are shuffled one by one. Every row is read once.
        """
        self._seed, self._number, self._batch = seed, number, batch_size
        self._draw = draw
        self._by_time = None if time is None else np.argsort(time, kind="stable")
        self._sequences = None if sequences is None else _Sequences(sequences)
        self._ends = [0]  # positives of the first 0, 1, 2, ... epochs
        self._epochs: dict[int, Future[np.ndarray]] = {}
        self._worker = ThreadPoolExecutor(max_workers=1)

    def positives(self, epochs: int) -> int:
        """Return the number of positives in the first ``epochs`` epochs."""
        if self._draw is None:
            return epochs * self._number
        while len(self._ends) <= epochs:
            self._drawn(self._draw, len(self._ends) - 1)
        return self._ends[epochs]

    def batches(self, step: int, number: int) -> np.ndarray:
        """Rows of successive batches.

        Returns:
          [number, batch_size] int32 rows of the training positives.
        """
        position, end = step * self._batch, (step + number) * self._batch
        epoch, parts = self._epoch_of(position), []
        while position < end:
            begin = self.positives(epoch)
            part = self._rows(epoch, position - begin, end - begin)
            parts.append(part)
            position, epoch = position + len(part), epoch + 1
        return np.concatenate(parts).reshape(number, self._batch)

    def _epoch_of(self, position: int) -> int:
        if self._draw is None:
            return position // self._number
        while self._ends[-1] < position:
            self.positives(len(self._ends))
        return bisect.bisect_right(self._ends, position) - 1

    def _rows(self, epoch: int, begin: int, end: int) -> np.ndarray:
        """Return the rows at places of an epoch, up to its end."""
        return self._epoch(epoch)[begin:end]

    def begin(self, epoch: int = 0) -> None:
        """Begin to order an epoch, in a thread; the one before it is kept."""
        if epoch not in self._epochs:
            rows = None if self._draw is None else self._drawn(self._draw, epoch)
            kept = {e: old for e, old in self._epochs.items() if e == epoch - 1}
            ordered = self._worker.submit(self._ordered, epoch, rows)
            self._epochs = {**kept, epoch: ordered}

    def _epoch(self, epoch: int) -> np.ndarray:
        self.begin(epoch)
        rows = self._epochs[epoch].result()
        if self._draw is None:  # else the next one may never be read
            self.begin(epoch + 1)
        return rows

    def _ordered(self, epoch: int, rows: np.ndarray | None) -> np.ndarray:
        if self._by_time is None:
            ordered = self._shuffled(epoch, rows)
        else:
            ordered = _in_order(self._by_time, rows)
        return ordered.astype(np.int32, copy=False)

    def _shuffled(self, epoch: int, rows: np.ndarray | None) -> np.ndarray:
        generator = keys.generator(self._seed, "order", epoch)
        if self._sequences is not None:
            return self._sequences.shuffled(generator)
        number = self._number if rows is None else len(rows)
        order = np.arange(number, dtype=np.int32)  # half of the memory of int64
        generator.shuffle(order)
        return order if rows is None else rows[order]

    def _drawn(self, draw: Draw, epoch: int) -> np.ndarray:
        """Return the rows of an epoch, unordered, and store their number."""
        rows = draw(keys.generator(self._seed, "positives", epoch))
        if epoch == len(self._ends) - 1:
            self._ends.append(self._ends[-1] + len(rows))
            if len(self._ends) > EMPTY and self._ends[-1] == self._ends[-1 - EMPTY]:
                raise InputError(
                    f"{EMPTY} epochs in a row keep none of the {self._number:,} "
                    "positives; choose another positives= that keeps more"
                )
        return rows


class _Sequences:
    """Rows of sequences, which stay together and in their order."""

    def __init__(self, sequences: History):
        """Sort the rows by sequence and place."""
        # No two positives end at one place, so that a place names its row.
        row_of = np.full(1 + int(sequences.end.max(initial=-1)), -1, np.int32)
        row_of[sequences.end] = np.arange(len(sequences.end), dtype=np.int32)
        self._rows = row_of[row_of >= 0]
        begin = sequences.begin[self._rows]
        starts = np.append(True, begin[1:] != begin[:-1])[: len(begin)]
        self._first = np.flatnonzero(starts).astype(np.int32)
        self._length = np.diff(self._first, append=np.int32(len(begin)))

    def shuffled(self, generator: np.random.Generator) -> np.ndarray:
        """Return all rows, the sequences in a random order."""
        order = generator.permutation(len(self._first))
        first, length = self._first[order], self._length[order]
        before = np.cumsum(length, dtype=np.int32) - length
        places = np.repeat(first - before, length)
        places += np.arange(len(places), dtype=np.int32)
        return self._rows[places]


def _in_order(by_time: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Return some rows, or every row once, in an order of all rows."""
    if rows is None:
        return by_time
    copies = np.bincount(rows, minlength=len(by_time))
    return np.repeat(by_time, copies[by_time])
