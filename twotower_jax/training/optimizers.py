"""Optimizers: optax for the dense part, the same optax on gathered rows for tables.

An elementwise optax transformation does not care whether it sees a whole table or some
of its rows. So a row-sparse step gathers the rows' state, lets optax update it, and
writes rows and state back. Adagrad's result equals the dense one exactly (a row with
gradient 0 does not move). Adam is *lazy*: moments of rows outside the batch do not
decay, and the bias correction counts steps, not visits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotower_jax.errors import unknown


class OptimizerNumbers(NamedTuple):
    """Numbers of the optimizer; scalars or traced arrays."""

    learning_rate: jax.Array | float
    initial_accumulator: jax.Array | float
    eps: jax.Array | float
    b1: jax.Array | float
    b2: jax.Array | float
    l2: jax.Array | float


def adagrad(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """Scale by the root of the sum of squares (Duchi et al. 2011)."""
    return optax.scale_by_rss(numbers.initial_accumulator, numbers.eps)


def adam(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """Scale by Adam (Kingma & Ba 2015); lazy on the rows of tables."""
    return optax.scale_by_adam(numbers.b1, numbers.b2, numbers.eps)


def sgd(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """Leave the gradient as it is."""
    del numbers
    return optax.identity()


OPTIMIZERS: dict[str, Callable[[OptimizerNumbers], optax.GradientTransformation]] = {
    "adagrad": adagrad,
    "adam": adam,
    "sgd": sgd,
}


def make_optimizer(
    name: str, numbers: OptimizerNumbers
) -> optax.GradientTransformation:
    """Return the transformation ``name`` (without the learning rate).

    Raises:
      InputError: when the name is unknown.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer.name", name, OPTIMIZERS)
    return OPTIMIZERS[name](numbers)


def update_dense(
    name: str, numbers: OptimizerNumbers, params: Any, grads: Any, state: Any
) -> tuple[Any, Any]:
    """Return params and state of the dense part after one step."""
    updates, state = make_optimizer(name, numbers).update(grads, state)
    params = jax.tree.map(
        lambda p, u: p - jnp.asarray(numbers.learning_rate, p.dtype) * u,
        params,
        updates,
    )
    return params, state


def update_rows(
    name: str,
    numbers: OptimizerNumbers,
    table: jax.Array,
    state: Any,
    ids: jax.Array,
    rows: jax.Array,
    grads: jax.Array,
) -> tuple[jax.Array, Any]:
    """Return a table and its state after a step that touches the rows ``ids`` only.

    Args:
      table: [size, dim].
      state: optax state; leaves [size, dim] are per row, others are shared.
      ids: [R] int32, ascending and distinct; padding is ``size`` and is dropped.
      rows: [R, dim] the gathered rows.
      grads: [R, dim] gradient of the loss by these rows, duplicates summed.
    """
    shape = table.shape

    def take(leaf: jax.Array) -> jax.Array:
        if leaf.shape != shape:
            return leaf
        return leaf.at[ids].get(mode="fill", fill_value=1)

    def put(leaf: jax.Array, values: jax.Array) -> jax.Array:
        if leaf.shape != shape:
            return values
        return leaf.at[ids].set(
            values, mode="drop", unique_indices=True, indices_are_sorted=True
        )

    grads = grads + jnp.asarray(numbers.l2, rows.dtype) * rows
    optimizer = make_optimizer(name, numbers)
    updates: Any
    updates, row_state = optimizer.update(grads, jax.tree.map(take, state))
    new_rows = rows - jnp.asarray(numbers.learning_rate, rows.dtype) * updates
    return put(table, new_rows), jax.tree.map(put, state, row_state)
