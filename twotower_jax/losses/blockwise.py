"""Losses of a batch in one sweep over blocks of rows; logits are never stored.

Blocks of rows give the loss and every gradient in the same pass. Rows are compared with
columns (candidates that all rows share), and each with slots of its own. The softmax
has a pass written by hand, with the maximum of the row subtracted, so that it is finite
at any temperature; any other loss is differentiated block by block.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.sampling.mining import keep_top_k

# Elements of one block of logits: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


class Shared(NamedTuple):
    """What is known of the C columns.

    Attributes:
      log_mult: [C] log of the draws that a column stands for; -inf for none.
      log_count: [G, C] log of the expected count by group of rows; 0 corrects nothing.
      key: [C] int32 item of the column.
      place: [C] int32 place of the column's item among the U distinct ones that
        ``Rows.pool_place`` and ``Rows.seen`` speak of, or None where neither is used.
    """

    log_mult: jax.Array
    log_count: jax.Array
    key: jax.Array
    place: jax.Array | None = None


class Rows(NamedTuple):
    """What is known of the B rows, beside scores.

    Attributes:
      weight: [B] weight in the sum.
      key: [B] int32 the row's own item.
      own_log_mult: [B] replaces ``log_mult`` in columns of the own item.
      own_log_count: [B] replaces ``log_count`` there.
      group: [B] int32 group of ``log_count``.
      pool_place: [B, L] int32 places of the items of the row's pool (U is nowhere).
      pool_log_count: [B, L] what the pool adds to their expected counts, in logs.
      seen: [B, U] bool, items that are masked.
      slot_log_mult: [B, K] 0 for a slot that counts, -inf for one that does not.
      slot_log_count: [B, K] log expected counts of the slots' items.
    """

    weight: jax.Array
    key: jax.Array
    own_log_mult: jax.Array
    own_log_count: jax.Array
    group: jax.Array | None = None
    pool_place: jax.Array | None = None
    pool_log_count: jax.Array | None = None
    seen: jax.Array | None = None
    slot_log_mult: jax.Array | None = None
    slot_log_count: jax.Array | None = None


def column_terms(shared: Shared, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Return log multiplicities and log expected counts [b, C] of some rows.

    Args:
      shared: the columns.
      rows: any number b of rows.
    """
    number = rows.key.shape[0]
    group = jnp.zeros(number, jnp.int32) if rows.group is None else rows.group
    log_count = shared.log_count[group]
    if rows.pool_place is not None:
        assert shared.place is not None
        table = jnp.full((number, shared.key.shape[0] + 1), -jnp.inf, log_count.dtype)
        line = jnp.arange(number)[:, None]
        table = table.at[line, rows.pool_place].set(rows.pool_log_count, mode="drop")
        log_count = jnp.logaddexp(log_count, table[:, shared.place])
    own = shared.key[None, :] == rows.key[:, None]
    log_mult = jnp.where(own, rows.own_log_mult[:, None], shared.log_mult[None, :])
    if rows.seen is not None:
        log_mult = jnp.where(rows.seen[:, shared.place], -jnp.inf, log_mult)
    log_count = jnp.where(own, rows.own_log_count[:, None], log_count)
    # What is not there has no count either: an item of count 0 stays out, not nan.
    return log_mult, jnp.where(jnp.isneginf(log_mult), 0, log_count)


def _bias(shared: Shared, rows: Rows) -> jax.Array:
    """Return log multiplicity minus log expected count [b, C].

    Where no term depends on both row and column, vectors are subtracted instead.
    """
    if rows.group is not None or rows.pool_place is not None:
        log_mult, log_count = column_terms(shared, rows)
        return log_mult - log_count
    own = shared.key[None, :] == rows.key[:, None]
    bias = _minus(shared.log_mult, shared.log_count[0])[None, :]
    own_bias = _minus(rows.own_log_mult, rows.own_log_count)[:, None]
    bias = jnp.where(own, own_bias, bias)
    if rows.seen is not None:
        bias = jnp.where(rows.seen[:, shared.place], -jnp.inf, bias)
    return bias


def _minus(log_mult: jax.Array, log_count: jax.Array) -> jax.Array:
    """Return the difference; -inf where nothing is drawn, whatever its count."""
    return jnp.where(jnp.isneginf(log_mult), -jnp.inf, log_mult - log_count)


def softmax_loss(
    query: jax.Array,
    columns: jax.Array,
    positive: jax.Array,
    slots: jax.Array | None,
    shared: Shared,
    rows: Rows,
) -> jax.Array:
    """Return sum_i w_i -log [e^p / (e^p + sum_d e^{s_d - log N_d})], in one sweep.

    d runs over the draws of row i: columns with their multiplicity, and slots.

    Args:
      query: [B, D] query embeddings over the temperature.
      columns: [C, D] candidate embeddings.
      positive: [B] logit of the row's positive.
      slots: [B, K] scores of the row's own slots, or None.
      shared, rows: the rest; constants.

    Returns:
      A scalar. Gradients flow to query, columns, positive and slots.
    """
    rest = positive
    if slots is not None:
        assert rows.slot_log_count is not None and rows.slot_log_mult is not None
        # With the positive among them, so that a row may have every slot off.
        own = slots - rows.slot_log_count + rows.slot_log_mult
        parts = jnp.concatenate([positive[:, None], own], axis=1)
        rest = jax.nn.logsumexp(parts, axis=1)
    total = _softmax_sweep(query, columns, rest, shared, rows)
    return total - (rows.weight * positive).sum()


@jax.custom_vjp
def _softmax_sweep(query, columns, rest, shared: Shared, rows: Rows) -> jax.Array:
    """Return sum_i w_i log(e^{rest_i} + sum_c e^{logit_ic})."""
    return _softmax_pass(query, columns, rest, shared, rows)[0]


def _softmax_pass(query, columns, rest, shared, rows):
    number, dim = query.shape
    block = block_rows(number, columns.shape[0])

    def one_block(carry, part):
        loss, d_columns = carry
        q, one, some = part
        logits = q @ columns.T + _bias(shared, some)
        top = jnp.maximum(logits.max(axis=1, initial=-jnp.inf), one)
        weights = jnp.exp(logits - top[:, None])
        first = jnp.exp(one - top)
        total = weights.sum(axis=1) + first
        scaled = some.weight / total
        d_query = (weights @ columns) * scaled[:, None]
        # [D, C] = q^T e runs at three times the speed of [C, D] = e^T q on a CPU.
        d_columns = d_columns + (q * scaled[:, None]).T @ weights
        loss = loss + (some.weight * (top + jnp.log(total))).sum()
        return (loss, d_columns), (d_query, first * scaled)

    start = (
        jnp.zeros((), query.dtype),
        jnp.zeros((dim, columns.shape[0]), query.dtype),
    )
    blocks = _in_blocks((query, rest, rows), number, block)
    (loss, d_columns), (d_query, d_rest) = jax.lax.scan(one_block, start, blocks)
    return loss, (d_query.reshape(-1, dim)[:number], d_columns.T, _flat(d_rest, number))


def _softmax_forward(*args):
    return _softmax_pass(*args)


def _softmax_backward(gradients, cotangent):
    return (*(cotangent * gradient for gradient in gradients), None, None)


_softmax_sweep.defvjp(_softmax_forward, _softmax_backward)


RowLoss = Callable[..., jax.Array]


def row_loss(
    loss: RowLoss,
    top_k: int,
    query: jax.Array,
    columns: jax.Array,
    positive: jax.Array,
    slots: jax.Array | None,
    shared: Shared,
    rows: Rows,
    numbers: Any,
) -> jax.Array:
    """Return sum_i w_i loss(positive, negatives, weight, numbers)_i, block by block.

    Args:
      loss: a function of (positive [b], negatives [b, n], weight [b, n], numbers).
      top_k: keep only the k negatives of a row with the best scores, before any
        correction; 0 keeps all.
      query, columns, positive, slots, shared, rows: as in ``softmax_loss``.
      numbers: passed on to the loss; constants.
    """
    consts = (shared, rows, numbers)
    return _row_sweep((loss, top_k), query, columns, positive, slots, consts)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_sweep(static, query, columns, positive, slots, consts) -> jax.Array:
    return _row_pass(static, query, columns, positive, slots, consts)[0]


def _row_pass(static, query, columns, positive, slots, consts):
    shared, rows, numbers = consts
    number = query.shape[0]
    block = block_rows(number, columns.shape[0])

    def one_block(carry, part):
        loss, d_columns = carry
        q, p, s, some = part
        value, grads = jax.value_and_grad(_block_loss, argnums=(1, 2, 3, 4))(
            static, q, columns, p, s, shared, some, numbers
        )
        return (loss + value, d_columns + grads[1]), (grads[0], *grads[2:])

    blocks = _in_blocks((query, positive, slots, rows), number, block)
    start = (jnp.zeros((), query.dtype), jnp.zeros_like(columns))
    (loss, d_columns), parts = jax.lax.scan(one_block, start, blocks)
    d_query, d_positive, d_slots = jax.tree.map(lambda x: _flat(x, number), parts)
    return loss, (d_query, d_columns, d_positive, d_slots)


def _block_loss(static, query, columns, positive, slots, shared, rows, numbers):
    loss, top_k = static
    scores = query @ columns.T
    log_mult, log_count = column_terms(shared, rows)
    if slots is not None:
        scores = jnp.concatenate([scores, slots], axis=1)
        log_mult = jnp.concatenate([log_mult, rows.slot_log_mult], axis=1)
        log_count = jnp.concatenate([log_count, rows.slot_log_count], axis=1)
    weight = jnp.exp(log_mult)
    if top_k:
        valid = jnp.where(weight > 0, jax.lax.stop_gradient(scores), -jnp.inf)
        weight = jnp.where(keep_top_k(valid, top_k), weight, 0)
    logits = jnp.where(weight > 0, scores - log_count, 0)
    return (rows.weight * loss(positive, logits, weight, numbers)).sum()


def _row_forward(static, *args):
    return _row_pass(static, *args)


def _row_backward(static, gradients, cotangent):
    del static
    scaled = jax.tree.map(lambda gradient: cotangent * gradient, gradients)
    return (*scaled, None)


_row_sweep.defvjp(_row_forward, _row_backward)


def block_rows(rows: int, columns: int) -> int:
    """Return how many rows a block of the sweep has."""
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    return min(MAX_BLOCK_ROWS, fitting, rows)


def _in_blocks(tree: Any, rows: int, block: int) -> Any:
    """Pad axis 0 with zeros (weight 0 for padded rows) and split it into blocks."""

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, -rows % block)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(-1, block, *x.shape[1:])

    return jax.tree.map(split, tree)


def _flat(blocks: jax.Array, rows: int) -> jax.Array:
    """Join blocks [n, b, ...] to [rows, ...]."""
    return blocks.reshape(-1, *blocks.shape[2:])[:rows]
