"""Updates of tables and dense parameters by their gradients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from twotower_jax.arrays.distinct import distinct_rows
from twotower_jax.arrays.shards import (
    BY_ROWS,
    WHOLE,
    on_shards,
    own_places,
    table_shards,
)
from twotower_jax.optimizers import Optimizer


class TouchedRows(NamedTuple):
    """Rows of a table that a batch touches, and the gradient of the loss by them."""

    ids: jax.Array  # [R] int32, distinct; padding is the table's size
    values: jax.Array  # [R, dim] float
    gradient: jax.Array  # [R, dim] float


class BagGradient(NamedTuple):
    """Gradient of the loss by the rows of a table, bag by bag.

    The gradient by row r is the sum over all (e, w) with ids[e, w] = r of
    weight[e, w] vectors[e] + decay[e, w] row r.
    """

    ids: jax.Array  # [E, width] int32; the table's size for a missing value
    weight: jax.Array  # [E, width] float32, 0 for a missing value
    vectors: jax.Array  # [E, dim] float32
    decay: jax.Array  # [E, width] factors of an L2 penalty, 0 for a missing value


Updated = tuple[Any, Any]  # parameters or a table, and their optimizer state


def update_dense(
    optimizer: Optimizer, params: Any, gradient: Any, state: Any
) -> Updated:
    """Dense parameters and optimizer state after one step."""
    updates, state = optimizer.transformation().update(gradient, state)
    rate = optimizer.learning_rate
    params = jax.tree.map(
        lambda p, u: p - jnp.asarray(rate, p.dtype) * u, params, updates
    )
    return params, state


def update_rows(
    optimizer: Optimizer, table: jax.Array, state: Any, touched: TouchedRows
) -> Updated:
    """Table [size, dim] and its optimizer state after a step on some of the rows.

    The other rows, and their part of the state, keep their bits. Leaves [size, dim] of
    the state have one entry per row, the others are shared by the rows.

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


# --- updates of tables ----------------------------------------------------------------
#
# A step of histories names many rows several times: 80,000 places and 17,000 rows. The
# rows are numbered through an array with one place per row of the table, their
# gradients are summed into a block of rows, and the optimizer updates the block. A row
# is updated once per step, with the sum of its gradients.

# Values of bags that are added in one go: their products stay in the cache.
VALUES = 2**12
# Most batches name less than a third as many rows as ids; others take more blocks.
SHARE, LEAST_ROWS = 3, 2**13
# Rows of bags that the optimizer updates in one go, so that they stay in the cache.
ROWS = 2**12
# The same for rows that are named once. XLA gives fewer than 512 rows of 64 numbers to
# one thread.
FEW_ROWS = 640


def update_table(
    optimizer: Optimizer,
    table: jax.Array,
    state: Any,
    gradients: Sequence[TouchedRows | BagGradient],
) -> Updated:
    """Table and its optimizer state after a step."""
    if optimizer.every_row:
        whole = jnp.zeros_like(table)  # the gradient; 0 for rows that none names
        for bag in map(as_bags, gradients):
            decay = jnp.zeros(table.shape[0], table.dtype)
            decay = decay.at[bag.ids].add(bag.decay, mode="drop")
            whole = add_bags(whole, bag, bag.ids) + decay[:, None] * table
        return update_dense(optimizer, table, whole, state)
    if len(gradients) == 1 and isinstance(gradients[0], TouchedRows):
        return _update_in_parts(optimizer, table, state, gradients[0])
    bags = list(map(as_bags, gradients))
    ids = jnp.concatenate([bag.ids.reshape(-1) for bag in bags])
    rows = distinct_rows(ids, table.shape[0])
    room = rows.ids.shape[0]
    part = min(room, ROWS)
    block = part * -(-min(room, max(LEAST_ROWS, room // SHARE)) // part)
    padded = jnp.pad(rows.ids, (0, -room % block), constant_values=table.shape[0])
    ends = np.cumsum([bag.ids.size for bag in bags])[:-1]
    of_bags = zip(jnp.split(rows.place, ends), bags, strict=True)
    places = [place.reshape(bag.ids.shape) for place, bag in of_bags]

    def update_block(turn: jax.Array, carry: Updated) -> Updated:
        gradient, decay = _block_gradient(bags, places, turn * block, block, table)
        here = jax.lax.dynamic_slice_in_dim(padded, turn * block, block)

        def update_part(turn: jax.Array, carry: Updated) -> Updated:
            ids, summed, factor = (
                jax.lax.dynamic_slice_in_dim(x, turn * part, part)
                for x in (here, gradient, decay)
            )
            values = carry[0].at[ids].get(mode="fill", fill_value=0)
            touched = TouchedRows(ids, values, summed + factor[:, None] * values)
            return _update_part(optimizer, state, carry, touched)

        left = jnp.clip(number - turn * block, 1, block)
        parts = _number_of_blocks(left, jnp.int32(part))
        return jax.lax.fori_loop(0, parts, update_part, carry)

    number = jnp.maximum(rows.number, 1)
    blocks = _number_of_blocks(number, jnp.int32(block))
    return jax.lax.fori_loop(0, blocks, update_block, (table, state))


def _update_in_parts(
    optimizer: Optimizer, table: jax.Array, state: Any, touched: TouchedRows
) -> Updated:
    """Return `update_rows`, on a CPU part by part."""
    number = touched.ids.shape[0]
    on_cpu = jax.default_backend() == "cpu"
    parts = max(1, -(-number // FEW_ROWS)) if on_cpu else 1
    size = -(-number // parts)
    if parts == 1:
        return update_rows(optimizer, table, state, touched)
    missing = (0, parts * size - number)
    padded = TouchedRows(
        jnp.pad(touched.ids, missing, constant_values=table.shape[0]),
        *(jnp.pad(x, (missing, (0, 0))) for x in (touched.values, touched.gradient)),
    )

    def update_part(turn: jax.Array, carry: Updated) -> Updated:
        part = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, turn * size, size), padded
        )
        return _update_part(optimizer, state, carry, part)

    return jax.lax.fori_loop(0, parts, update_part, (table, state))


def _update_part(
    optimizer: Optimizer, state: Any, carry: Updated, touched: TouchedRows
) -> Updated:
    """Update a part of the rows that a step touches, from the ``state`` before it."""
    table, after = carry
    # Adam's number of steps, which all rows share, grows by one per step.
    before = jax.tree.map(
        lambda leaf, new: new if new.shape == table.shape else leaf, state, after
    )
    return update_rows(optimizer, table, before, touched)


def update_blocks(
    optimizer: Optimizer,
    table: jax.Array,
    state: Any,
    gradients: Sequence[TouchedRows | BagGradient],
    rows: int,
) -> Updated:
    """`update_table` for a table that may be spread over devices.

    Every device updates its own rows with the gradient of the whole batch.
    """
    if table_shards() == 1:
        return update_table(optimizer, table, state, gradients)

    def update_own(
        table: jax.Array, state: Any, gradients: Any, optimizer: Optimizer
    ) -> Updated:
        own = []
        for gradient in gradients:
            places = own_places(gradient.ids, table.shape[0])
            places = jnp.where(gradient.ids < rows, places, table.shape[0])
            own.append(gradient._replace(ids=places))
        return update_table(optimizer, table, state, own)

    of_state = jax.tree.map(
        lambda leaf: BY_ROWS if leaf.shape == table.shape else WHOLE, state
    )
    update = on_shards(
        update_own, (BY_ROWS, of_state, WHOLE, WHOLE), (BY_ROWS, of_state)
    )
    return update(table, state, list(gradients), optimizer)


@custom_vmap
def _number_of_blocks(rows: jax.Array, block: jax.Array) -> jax.Array:
    """Return the number of blocks; of arms side by side, the largest of all.

    A block behind the last row changes nothing. A number per arm would copy the whole
    tables of the others in every turn.
    """
    return (rows + block - 1) // block


@_number_of_blocks.def_vmap
def _(size: int, batched: Any, rows: jax.Array, block: jax.Array):
    del size, batched
    return _number_of_blocks(jnp.max(rows), jnp.max(block)), False


def as_bags(rows: TouchedRows | BagGradient) -> BagGradient:
    """Rows with their gradient as bags of one row."""
    if isinstance(rows, BagGradient):
        return rows
    ones = jnp.ones((rows.ids.shape[0], 1), rows.gradient.dtype)
    return BagGradient(rows.ids[:, None], ones, rows.gradient, jnp.zeros_like(ones))


def _block_gradient(
    bags: Sequence[BagGradient],
    places: Sequence[jax.Array],
    first: jax.Array,
    block: int,
    table: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the gradient [block, dim] of the loss by the rows from the first on.

    And the factors [block] of these rows in the gradient of the penalty.
    """
    gradient = jnp.zeros((block, table.shape[1]), table.dtype)
    decay = jnp.zeros(block, table.dtype)
    for bag, place in zip(bags, places, strict=True):
        local = place - first
        local = jnp.where((local >= 0) & (local < block), local, block)
        decay = decay.at[local].add(bag.decay, mode="drop")
        gradient = add_bags(gradient, bag, local)
    return gradient, decay


def add_bags(gradient: jax.Array, bag: BagGradient, place: jax.Array) -> jax.Array:
    """Gradient [R, dim] with that of bags added.

    The ``place`` [E, width] of a value is its row of the gradient, or R for none.
    """
    number, width = place.shape
    size = min(number, max(1, VALUES // width))

    def add(gradient: jax.Array, first: Any, size: int) -> jax.Array:
        at, weight, vectors = (
            jax.lax.dynamic_slice_in_dim(x, first, size)
            for x in (place, bag.weight, bag.vectors)
        )
        added = vectors[:, None, :] * weight[:, :, None]
        return gradient.at[at].add(added, mode="drop")

    whole = number // size
    gradient = jax.lax.fori_loop(
        0, whole, lambda turn, total: add(total, turn * size, size), gradient
    )
    rest = number - whole * size
    return add(gradient, whole * size, rest) if rest else gradient
