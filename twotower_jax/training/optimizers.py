"""Optimizers: optax for dense parameters, the same optax on gathered rows for tables.

An elementwise optax transformation gives the same result on a whole table and on some
of its rows. A row-sparse step therefore gathers the optimizer state of the rows, lets
optax update it, and writes rows and state back. Adagrad equals its dense version
exactly, because a row with gradient 0 does not move. Adam is *lazy*: the moments of
rows outside the batch do not decay, and the bias correction counts steps, not visits.
`adam_dense` moves every row in every step, as Adam of a dense table does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.optimizers import Optimizer


class TouchedRows(NamedTuple):
    """The rows of a table that a batch touches.

    Attributes:
      ids: [R] int32, distinct; padding is the table's size.
      values: [R, dim] float, the rows.
      gradient: [R, dim] float, gradient of the loss by the rows.
    """

    ids: jax.Array
    values: jax.Array
    gradient: jax.Array


def update_dense(
    optimizer: Optimizer, params: Any, gradient: Any, state: Any
) -> tuple[Any, Any]:
    """Dense parameters and optimizer state after one step."""
    updates, state = optimizer.transformation().update(gradient, state)
    rate = optimizer.learning_rate
    params = jax.tree.map(
        lambda p, u: p - jnp.asarray(rate, p.dtype) * u, params, updates
    )
    return params, state


def update_rows(
    optimizer: Optimizer, table: jax.Array, state: Any, touched: TouchedRows
) -> tuple[jax.Array, Any]:
    """Table and its optimizer state after a step on some of the rows.

    The other rows, and their part of the state, keep their bits.

    Args:
      table: [size, dim] float.
      state: Optax state. Leaves [size, dim] have one entry per row, the others are
        shared by the rows.

    Examples:
      >>> from twotower_jax.optimizers import Sgd
      >>> optimizer = Sgd(learning_rate=0.5)
      >>> table = jnp.ones((3, 1))
      >>> touched = TouchedRows(jnp.array([1, 3]), table[:2], jnp.ones((2, 1)))
      >>> new, _ = update_rows(optimizer, table, (), touched)  # 3 is padding
      >>> new.ravel().tolist()
      [1.0, 0.5, 1.0]
    """
    rate, rows = optimizer.learning_rate, touched.values
    row_state = jax.tree.map(lambda leaf: _take(leaf, table, touched.ids), state)
    updates: Any
    updates, row_state = optimizer.transformation().update(touched.gradient, row_state)
    new_rows = rows - jnp.asarray(rate, rows.dtype) * updates
    state = jax.tree.map(
        lambda leaf, new: _put(leaf, new, table, touched.ids), state, row_state
    )
    return _put(table, new_rows, table, touched.ids), state


def _take(leaf: jax.Array, table: jax.Array, ids: jax.Array) -> jax.Array:
    """Return the rows ``ids`` of a leaf that has the table's shape, else the leaf."""
    if leaf.shape != table.shape:
        return leaf
    return leaf.at[ids].get(mode="fill", fill_value=1)


def _put(
    leaf: jax.Array, values: jax.Array, table: jax.Array, ids: jax.Array
) -> jax.Array:
    """Return a leaf of the table's shape with new rows, else the new values."""
    if leaf.shape != table.shape:
        return values
    return leaf.at[ids].set(values, mode="drop", unique_indices=True)
