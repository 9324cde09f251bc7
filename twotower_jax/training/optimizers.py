"""Optimizers: optax for dense parameters, the same optax on gathered rows for tables.

An elementwise optax transformation gives the same result on a whole table and on some
of its rows. A row-sparse step therefore gathers the optimizer state of the rows, lets
optax update it, and writes rows and state back. Adagrad equals its dense version
exactly, because a row with gradient 0 does not move. Adam is *lazy*: the moments of
rows outside the batch do not decay, and the bias correction counts steps, not visits.
`adam_dense` moves every row in every step, as Adam of a dense table does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotower_jax.registry import Registry


class OptimizerNumbers(NamedTuple):
    """Numbers of the optimizers; scalars or traced arrays.

    Attributes:
      learning_rate: Factor of the update.
      initial_accumulator: Sum of squares that adagrad starts with.
      eps: Number that adagrad and adam add to the denominator.
      b1: Decay of adam's mean.
      b2: Decay of adam's mean of squares.
    """

    learning_rate: jax.Array | float
    initial_accumulator: jax.Array | float
    eps: jax.Array | float
    b1: jax.Array | float
    b2: jax.Array | float


class UpdateRule(NamedTuple):
    """An update rule: an entry of `OPTIMIZERS`.

    Attributes:
      transformation: Returns an elementwise optax transformation, without the learning
        rate, of numbers. Dense parameters and rows of tables are both updated by it.
      every_row: Whether a step updates all rows of the tables, not its batch's alone.
    """

    transformation: Callable[[OptimizerNumbers], optax.GradientTransformation]
    every_row: bool = False


class Optimizer(NamedTuple):
    """An optimizer with its numbers.

    Attributes:
      transformation: Elementwise optax transformation, without the learning rate.
      numbers: Numbers of the transformation, and the learning rate.
      every_row: Whether a step updates all rows of the tables, not its batch's alone.
    """

    transformation: optax.GradientTransformation
    numbers: OptimizerNumbers
    every_row: bool = False


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


def adagrad(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """Division by the root of the sum of squared gradients.

    References:
      Duchi et al., Adaptive subgradient methods, JMLR 2011.
    """
    return optax.scale_by_rss(numbers.initial_accumulator, numbers.eps)


def adam(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """Mean of the gradient over the root of its mean square; lazy on rows of tables.

    References:
      Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """
    return optax.scale_by_adam(numbers.b1, numbers.b2, numbers.eps)


def sgd(numbers: OptimizerNumbers) -> optax.GradientTransformation:
    """The gradient itself."""
    del numbers
    return optax.identity()


OPTIMIZERS: Registry[UpdateRule] = Registry(
    "optimizer.name",
    {
        "adagrad": UpdateRule(adagrad),
        "adam": UpdateRule(adam),
        "adam_dense": UpdateRule(adam, every_row=True),
        "sgd": UpdateRule(sgd),
    },
)


def make_optimizer(name: str, numbers: OptimizerNumbers) -> Optimizer:
    """Optimizer of a name.

    Args:
      name: Key of `OPTIMIZERS`.
      numbers: Numbers of the optimizer.

    Returns:
      The optimizer.

    Raises:
      InputError: The name is unknown.

    Examples:
      >>> optimizer = make_optimizer("sgd", OptimizerNumbers(0.5, 0, 0, 0, 0))
      >>> params, _ = update_dense(optimizer, jnp.ones(2), jnp.array([1.0, -2.0]), ())
      >>> params.tolist()
      [0.5, 2.0]
    """
    rule = OPTIMIZERS[name]
    return Optimizer(rule.transformation(numbers), numbers, rule.every_row)


def update_dense(
    optimizer: Optimizer, params: Any, gradient: Any, state: Any
) -> tuple[Any, Any]:
    """Dense parameters and optimizer state after one step.

    Args:
      optimizer: The optimizer.
      params: Tree of float arrays.
      gradient: Gradient of the loss by the params, the same tree.
      state: State of the optimizer for the params.

    Returns:
      The new params and the new state.
    """
    updates, state = optimizer.transformation.update(gradient, state)
    rate = optimizer.numbers.learning_rate
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
      optimizer: The optimizer.
      table: [size, dim] float.
      state: Optax state. Leaves [size, dim] have one entry per row, the others are
        shared by the rows.
      touched: R rows with their gradient.

    Returns:
      The new table and the new state.

    Examples:
      >>> optimizer = make_optimizer("sgd", OptimizerNumbers(0.5, 0, 0, 0, 0))
      >>> table = jnp.ones((3, 1))
      >>> touched = TouchedRows(jnp.array([1, 3]), table[:2], jnp.ones((2, 1)))
      >>> new, _ = update_rows(optimizer, table, (), touched)  # 3 is padding
      >>> new.ravel().tolist()
      [1.0, 0.5, 1.0]
    """
    numbers, rows = optimizer.numbers, touched.values
    row_state = jax.tree.map(lambda leaf: _take(leaf, table, touched.ids), state)
    updates: Any
    updates, row_state = optimizer.transformation.update(touched.gradient, row_state)
    new_rows = rows - jnp.asarray(numbers.learning_rate, rows.dtype) * updates
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
