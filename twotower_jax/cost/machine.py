"""The floors of this machine: how fast it does each kind of work of a step alone."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.cost.shape import Shape, widths
from twotower_jax.cost.work import sequence_flop
from twotower_jax.model.sequence import (
    Dropout,
    SequenceSpec,
    init_sequence,
    sequence_vectors,
)
from twotower_jax.model.tokens import whole_sequences
from twotower_jax.negatives.distinct import find_distinct

# Largest sizes of a measurement: more does not change its speed.
MOST_COLUMNS, MOST_ROWS, MOST_BYTES = 2**14, 2**13, 2**28
# Seconds that one measurement takes, about.
SECONDS = 0.02


class Floors(NamedTuple):
    """Speeds of this machine at the shape of a step.

    Attributes:
      score_flop: FLOP per second of the three products of a block of scores.
      layer_flop: FLOP per second of the three products of a layer.
      sequence_flop: FLOP per second of the transformer and its gradients; 1 without it.
      exponentials: per second, with the maximum and the sum of each row.
      look_ups: numbers per second, one of its row for each pair of a block.
      row_moves: rows of D numbers per second, read or written at random places.
      sorted_ids: ids per second, sorted to find the distinct ones.
      bandwidth: bytes per second, read and written in order.
      operation: seconds of an operation that has nothing to do.
    """

    score_flop: float
    layer_flop: float
    sequence_flop: float
    exponentials: float
    look_ups: float
    row_moves: float
    sorted_ids: float
    bandwidth: float
    operation: float


class Clock(NamedTuple):
    """Seconds of some work.

    Attributes:
      wall: by the wall clock.
      cpu: of all threads of the process together.
    """

    wall: float
    cpu: float


class Stopwatch:
    """The seconds within a ``with`` block, in ``read`` after it."""

    read: Clock

    def __enter__(self) -> "Stopwatch":
        """Start the clocks."""
        self._start = Clock(time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        """Read the clocks."""
        wall = time.perf_counter() - self._start.wall
        self.read = Clock(wall, time.process_time() - self._start.cpu)


class _Floor(NamedTuple):
    """One measurement: a program that repeats some work, its state, and its amount."""

    run: Callable[[Any, int], Any]
    state: list[Any]
    amount: float


class Machine:
    """Measures the floors of this machine at the shape of a training.

    Args:
      shape: of the training; sizes are cut to `MOST_COLUMNS`, `MOST_ROWS` and a table
        of `MOST_BYTES`.
    """

    def __init__(self, shape: Shape):
        rows, dim = shape.block, shape.dim
        columns = min(max(shape.columns, 8), MOST_COLUMNS)
        layers = widths(shape.structure.model.candidate) or (dim, dim)
        # Rows of a step lie in every table and in the state of the optimizer.
        size = sum(shape.tables.values()) * (1 + shape.moments)
        size = max(1, min(size, MOST_BYTES // (4 * dim)))
        batch = min(shape.rows, MOST_ROWS)
        self._floors = {
            "score_flop": _products(rows, columns, dim),
            "layer_flop": _layer(min(shape.candidates, MOST_ROWS), *layers[:2]),
            "exponentials": _exponentials(rows, columns),
            "look_ups": _look_ups(rows, columns),
            "row_moves": _row_moves(size, dim, batch),
            "sorted_ids": _sorted_ids(batch),
            "bandwidth": _bandwidth(),
            "operation": _operations(),
        }
        if shape.sequence is not None:
            self._floors["sequence_flop"] = _transformer(shape, shape.sequence)
        self._times: dict[str, list[Clock]] = {name: [] for name in self._floors}
        self._repeats = {name: _repeats(one) for name, one in self._floors.items()}

    def measure(self) -> None:
        """Measure each floor once more."""
        for name, floor in self._floors.items():
            repeats = self._repeats[name]
            self._times[name].append(_seconds(floor, repeats))

    def floors(self, clock: str = "wall") -> Floors:
        """Return the medians of all measurements, of which there is at least one.

        Args:
          clock: "wall", or "cpu" for the seconds of all threads, which hold on a
            machine with other work.
        """
        speeds = {
            name: floor.amount / median(getattr(t, clock) for t in self._times[name])
            for name, floor in self._floors.items()
        }
        speeds["operation"] = 1 / speeds["operation"]
        return Floors(**{"sequence_flop": 1.0, **speeds})


def measure_floors(shape: Shape, turns: int = 5) -> Floors:
    """The floors of this machine, measured in a few seconds."""
    machine = Machine(shape)
    for _ in range(turns):
        machine.measure()
    return machine.floors()


def _seconds(floor: _Floor, repeats: int) -> Clock:
    """Return the seconds of one repeat among some."""
    with Stopwatch() as watch:
        floor.state[0] = jax.block_until_ready(floor.run(floor.state[0], repeats))
    return Clock(watch.read.wall / repeats, watch.read.cpu / repeats)


def _repeats(floor: _Floor) -> int:
    """Return the repeats that take about `SECONDS`, after the program is compiled."""
    _seconds(floor, 1)
    once = min(_seconds(floor, 2).cpu for _ in range(3))
    return max(1, min(10_000, round(SECONDS / max(once, 1e-6))))


def _repeated(body: Callable[[Any], Any], state: Any, amount: float) -> _Floor:
    """Return a measurement that applies a function again and again to its state."""

    @partial(jax.jit, donate_argnums=0)
    def run(state: Any, repeats: int) -> Any:
        return jax.lax.fori_loop(0, repeats, lambda _, state: body(state), state)

    return _Floor(run, [state], amount)


def _products(rows: int, columns: int, dim: int) -> _Floor:
    """Scores [rows, columns] and their gradients, as `losses.softmax_pass` has them."""

    def body(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        query, matrix, total = state
        scores = query @ matrix.T
        return (scores @ matrix) * 1e-3, matrix, total * 0.5 + query.T @ scores

    key = jax.random.key(0)
    query = jax.random.normal(key, (rows, dim)) / dim
    matrix = jax.random.normal(key, (columns, dim)) / dim
    state = (query, matrix, jnp.zeros((dim, columns)))
    return _repeated(body, state, 6.0 * rows * columns * dim)


def _layer(rows: int, before: int, after: int) -> _Floor:
    """A layer [before, after] of some rows, and both of its gradients."""

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, kernel = state
        y = jax.nn.relu(x @ kernel)
        return (y @ kernel.T) * 1e-3, kernel * 0.5 + x.T @ y

    x = jax.random.normal(jax.random.key(0), (rows, before)) / before
    return _repeated(body, (x, jnp.ones((before, after))), 6.0 * rows * before * after)


def _transformer(shape: Shape, spec: SequenceSpec) -> _Floor:
    """The transformer of the query tower and its gradients, with dropout."""
    blocks = max(1, min(shape.tokens, MOST_ROWS) // spec.length)
    number, stream = blocks * spec.length, shape.structure.end_to_end
    tokens = whole_sequences(jnp.ones((blocks, spec.length), bool))
    key, each = jax.random.key(0), jnp.float32(0.2)
    params = init_sequence(spec, key)

    def total(params: dict, x: jax.Array, key: jax.Array) -> jax.Array:
        dropout = Dropout(key, each)
        made = sequence_vectors(spec, params, x, tokens, dropout, stream=stream)
        return (made * made).sum()

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, step = state
        gradient = jax.grad(total, (0, 1))(params, x, jax.random.fold_in(key, step))
        moved = sum(one.sum() for one in jax.tree.leaves(gradient[0])) * 1e-6
        return x + 1e-6 * gradient[1] + moved, step + 1

    state = jax.random.normal(key, (number, spec.dim)), jnp.int32(0)
    return _repeated(body, state, sequence_flop(shape, number))


def _exponentials(rows: int, columns: int) -> _Floor:
    """Exponentials of a block, less the maximum of its row, with masks and row sums."""
    key = jnp.arange(columns, dtype=jnp.int32)

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        raw, total = state
        own = key[None, :] == jnp.arange(rows, dtype=jnp.int32)[:, None]
        logits = raw + jnp.where(own, -jnp.inf, (key * 1e-6)[None, :])
        top = jnp.maximum(logits.max(axis=1), total * 0)
        weights = jnp.exp(logits - top[:, None])
        return weights, weights.sum(axis=1)

    state = (jnp.zeros((rows, columns)), jnp.zeros(rows))
    return _repeated(body, state, float(rows * columns))


def _look_ups(rows: int, columns: int) -> _Floor:
    """Numbers of a block, each from another place of its row (`losses.terms`)."""

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        table, place = state
        return table[:, place] + 1, (place * 5 + 1) % columns

    place = jnp.arange(columns, dtype=jnp.int32)
    return _repeated(body, (jnp.zeros((rows, columns)), place), float(rows * columns))


def _row_moves(size: int, dim: int, rows: int) -> _Floor:
    """Random rows of a table [size, dim]: some are read, and others are written.

    In a step much other work lies between both, so that a row has left the caches when
    it is written.
    """

    def body(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        table, ids = state
        values = table.at[ids].get(mode="fill", fill_value=0) * 0.5
        others = (ids + size // 2) % size
        table = table.at[others].set(values, mode="drop", unique_indices=True)
        return table, (ids + 7919) % size

    ids = jax.random.permutation(jax.random.key(0), size)[:rows]
    return _repeated(body, (jnp.zeros((size, dim)), ids), 2.0 * len(ids))


def _sorted_ids(number: int) -> _Floor:
    """Ids of which the distinct ones are found, with the place of each."""

    def body(ids: jax.Array) -> jax.Array:
        found = find_distinct(ids, number, 2**30)
        return (found.ids * 5 + found.place * 7919) % 1_000_003

    ids = jax.random.randint(jax.random.key(0), (number,), 0, 10**6, jnp.int32)
    return _repeated(body, ids, float(number))


def _bandwidth() -> _Floor:
    """Numbers that are read and written in order; larger than caches."""
    return _repeated(lambda x: x * 0.999 + 1, jnp.zeros(2**24), 2.0 * 4 * 2**24)


def _operations() -> _Floor:
    """Operations on a few numbers, one after another."""

    def body(state: jax.Array) -> jax.Array:
        for _ in range(8):
            state = jnp.sort(state)[::-1]
        return state

    return _repeated(body, jnp.arange(8.0), 8.0)
