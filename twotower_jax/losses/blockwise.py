"""Losses of a batch in one pass over blocks of rows; logits are never stored.

A block of rows gives its loss and every gradient in the same pass. Rows are compared
with columns (candidates that all rows share) and with slots (candidates of one row).
The softmax has a pass written by hand, which subtracts the maximum of each row and so
is finite at any temperature. Any other loss is differentiated block by block.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.limit import below
from twotower_jax.losses.rowwise import Loss, LossNumbers, RowLoss
from twotower_jax.losses.terms import (
    ColumnTerms,
    RowTerms,
    Scores,
    bias,
    column_terms,
)
from twotower_jax.sampling.mining import keep_top_k

# Elements of one block of logits: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


def batch_loss(
    loss: Loss,
    top_k: int,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    numbers: LossNumbers,
) -> jax.Array:
    """Sum of the weighted losses of the rows of a batch.

    Args:
      loss: Entry of `LOSSES`.
      top_k: Number of negatives of a row with the best scores, before any correction,
        that are kept; 0 keeps all.
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants.
      numbers: Numbers of the loss; constants.

    Returns:
      [] float. Gradients flow to the scores.
    """
    if loss.softmax and not top_k:
        return softmax_loss(scores, columns, rows)
    return row_loss(loss.of_rows, top_k, scores, columns, rows, numbers)


def softmax_loss(scores: Scores, columns: ColumnTerms, rows: RowTerms) -> jax.Array:
    """Return sum_i w_i -log [e^p / (e^p + sum_d e^{s_d - log N_d})] in one pass.

    d runs over the draws of row i: columns with their multiplicity, and slots.

    Args:
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants.

    Returns:
      [] float. Gradients flow to the scores.

    Examples:
      >>> from twotower_jax.losses.terms import PairTerms
      >>> columns = ColumnTerms(jnp.zeros(2), jnp.zeros((1, 2)), *2 * [jnp.arange(2)])
      >>> none = PairTerms(*2 * [jnp.zeros((1, 0))])
      >>> masked = jnp.full(1, -jnp.inf)
      >>> rows = RowTerms(jnp.ones(1), jnp.array([1]), masked, jnp.zeros(1), none)
      >>> equal = Scores(jnp.ones((1, 1)), jnp.ones((2, 1)), jnp.ones(1), none.log_mult)
      >>> round(float(softmax_loss(equal, columns, rows)), 4)  # log 2: own item masked
      0.6931
    """
    rest = scores.positive
    if scores.slots.shape[1]:
        # With the positive among them, so that every slot of a row may be masked.
        raw = jax.lax.stop_gradient(scores.slots)
        log_mult = below(rows.limit, raw, rows.slots.log_mult)
        own = scores.slots - rows.slots.log_count + log_mult
        parts = jnp.concatenate([scores.positive[:, None], own], axis=1)
        rest = jax.nn.logsumexp(parts, axis=1)
    total = _softmax_sum(scores.query, scores.columns, rest, columns, rows)
    return total - (rows.weight * scores.positive).sum()


@jax.custom_vjp
def _softmax_sum(
    query: jax.Array,
    matrix: jax.Array,
    rest: jax.Array,
    columns: ColumnTerms,
    rows: RowTerms,
) -> jax.Array:
    """Return sum_i w_i log(e^{rest_i} + sum_c e^{logit_ic}); matrix is [C, D]."""
    return _softmax_pass(query, matrix, rest, columns, rows)[0]


class _SoftmaxBlock(NamedTuple):
    """The rows of one block: query embeddings, logits beside the columns, terms."""

    query: jax.Array
    rest: jax.Array
    rows: RowTerms


class _Sums(NamedTuple):
    """Sums over blocks: the loss, and the gradient by the columns."""

    loss: jax.Array
    columns: jax.Array


_Gradients = tuple[jax.Array, jax.Array, jax.Array]


def _softmax_pass(
    query: jax.Array,
    matrix: jax.Array,
    rest: jax.Array,
    columns: ColumnTerms,
    rows: RowTerms,
) -> tuple[jax.Array, _Gradients]:
    """Return the sum and its gradients by query, matrix and rest."""
    number, dim = query.shape

    def add_block(
        sums: _Sums, block: _SoftmaxBlock
    ) -> tuple[_Sums, tuple[jax.Array, jax.Array]]:
        raw = block.query @ matrix.T
        logits = raw + below(block.rows.limit, raw, bias(columns, block.rows))
        top = jnp.maximum(logits.max(axis=1, initial=-jnp.inf), block.rest)
        weights = jnp.exp(logits - top[:, None])
        first = jnp.exp(block.rest - top)
        total = weights.sum(axis=1) + first
        scaled = block.rows.weight / total
        d_query = (weights @ matrix) * scaled[:, None]
        # [D, C] = q^T e runs at three times the speed of [C, D] = e^T q on a CPU.
        d_columns = sums.columns + (block.query * scaled[:, None]).T @ weights
        loss = sums.loss + (block.rows.weight * (top + jnp.log(total))).sum()
        return _Sums(loss, d_columns), (d_query, first * scaled)

    start = _Sums(
        jnp.zeros((), query.dtype), jnp.zeros((dim, matrix.shape[0]), query.dtype)
    )
    blocks = _in_blocks(_SoftmaxBlock(query, rest, rows), number, matrix.shape[0])
    sums, (d_query, d_rest) = jax.lax.scan(add_block, start, blocks)
    gradients = (_flat(d_query, number), sums.columns.T, _flat(d_rest, number))
    return sums.loss, gradients


def _softmax_backward(
    gradients: _Gradients, cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    return (*(cotangent * gradient for gradient in gradients), None, None)


_softmax_sum.defvjp(_softmax_pass, _softmax_backward)


def row_loss(
    loss: RowLoss,
    top_k: int,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    numbers: LossNumbers,
) -> jax.Array:
    """Return sum_i w_i loss(positive, negatives, weight, numbers)_i, block by block.

    Args:
      loss: Function of (positive [b], negatives [b, n], weight [b, n], numbers).
      top_k: Number of negatives of a row with the best scores, before any correction,
        that are kept; 0 keeps all.
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants.
      numbers: Numbers of the loss; constants.

    Returns:
      [] float. Gradients flow to the scores.
    """
    return _row_sum(_Choice(loss, top_k), scores, _Constants(columns, rows, numbers))


class _Choice(NamedTuple):
    """The static arguments of ``row_loss``."""

    loss: RowLoss
    top_k: int


class _Constants(NamedTuple):
    """The arguments of ``row_loss`` to which no gradient flows."""

    columns: ColumnTerms
    rows: RowTerms
    numbers: LossNumbers


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_sum(choice: _Choice, scores: Scores, constants: _Constants) -> jax.Array:
    return _row_pass(choice, scores, constants)[0]


class _RowBlock(NamedTuple):
    """The rows of one block: query embeddings, logits, scores of slots, terms."""

    query: jax.Array
    positive: jax.Array
    slots: jax.Array
    rows: RowTerms


def _row_pass(
    choice: _Choice, scores: Scores, constants: _Constants
) -> tuple[jax.Array, Scores]:
    """Return the sum and its gradients by the scores."""
    number, matrix = scores.query.shape[0], scores.columns

    def add_block(
        sums: _Sums, block: _RowBlock
    ) -> tuple[_Sums, tuple[jax.Array, jax.Array, jax.Array]]:
        some = Scores(block.query, matrix, block.positive, block.slots)
        loss, gradient = jax.value_and_grad(_block_loss, argnums=1)(
            choice, some, constants._replace(rows=block.rows)
        )
        sums = _Sums(sums.loss + loss, sums.columns + gradient.columns)
        return sums, (gradient.query, gradient.positive, gradient.slots)

    whole = _RowBlock(scores.query, scores.positive, scores.slots, constants.rows)
    blocks = _in_blocks(whole, number, matrix.shape[0])
    start = _Sums(jnp.zeros((), scores.query.dtype), jnp.zeros_like(matrix))
    sums, parts = jax.lax.scan(add_block, start, blocks)
    d_query, d_positive, d_slots = jax.tree.map(lambda x: _flat(x, number), parts)
    return sums.loss, Scores(d_query, sums.columns, d_positive, d_slots)


def _block_loss(choice: _Choice, scores: Scores, constants: _Constants) -> jax.Array:
    """Return the sum of the weighted losses of the rows of one block."""
    rows = constants.rows
    raw = scores.query @ scores.columns.T
    pairs = column_terms(constants.columns, rows)
    raw = jnp.concatenate([raw, scores.slots], axis=1)
    log_mult = jnp.concatenate([pairs.log_mult, rows.slots.log_mult], axis=1)
    log_count = jnp.concatenate([pairs.log_count, rows.slots.log_count], axis=1)
    log_mult = below(rows.limit, jax.lax.stop_gradient(raw), log_mult)
    weight = jnp.exp(log_mult)
    if choice.top_k:
        valid = jnp.where(weight > 0, jax.lax.stop_gradient(raw), -jnp.inf)
        weight = jnp.where(keep_top_k(valid, choice.top_k), weight, 0)
    logits = jnp.where(weight > 0, raw - log_count, 0)
    values = choice.loss(scores.positive, logits, weight, constants.numbers)
    return (rows.weight * values).sum()


def _row_backward(
    choice: _Choice, gradients: Scores, cotangent: jax.Array
) -> tuple[Scores, None]:
    del choice
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients), None


_row_sum.defvjp(_row_pass, _row_backward)


def block_rows(rows: int, columns: int) -> int:
    """Number of rows of a block.

    Args:
      rows: Number of rows of the batch.
      columns: Number of columns of the batch.

    Returns:
      A number of at least 1, whose block of logits fits a core's cache.

    Examples:
      >>> block_rows(4096, 4096), block_rows(4096, 2**20), block_rows(5, 10)
      (512, 8, 5)
    """
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    return min(MAX_BLOCK_ROWS, fitting, rows)


def _in_blocks(tree: Any, rows: int, columns: int) -> Any:
    """Pad axis 0 with zeros (weight 0 for padded rows) and split it into blocks."""
    block = block_rows(rows, columns)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, -rows % block)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(x.shape[0] // block, block, *x.shape[1:])

    return jax.tree.map(split, tree)


def _flat(blocks: jax.Array, rows: int) -> jax.Array:
    """Join blocks [n, b, ...] to [rows, ...]."""
    number = blocks.shape[0] * blocks.shape[1]
    return blocks.reshape(number, *blocks.shape[2:])[:rows]
