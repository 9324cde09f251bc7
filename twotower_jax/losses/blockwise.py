"""Losses of a batch in one pass over blocks of rows; logits are never stored.

A block of rows gives its loss and every gradient in the same pass. Rows are compared
with columns (candidates that all rows share) and with slots (candidates of one row).
The softmax has a pass written by hand (`softmax_pass`). Any other loss is
differentiated block by block.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.blocks import flat, in_blocks
from twotower_jax.losses.logits import (
    ColumnTerms,
    RowTerms,
    Scores,
    column_terms,
    keep_top_k,
    mask_at_or_above,
)
from twotower_jax.losses.loss import Loss
from twotower_jax.losses.softmax_pass import softmax_loss
from twotower_jax.registry import join, split


def batch_loss(
    loss: Loss,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    *,
    top_k: int = 0,
) -> jax.Array:
    """Sum of the weighted losses of the rows of a batch.

    Args:
      top_k: Number of negatives of a row with the best scores, before any correction,
        that are kept; 0 keeps all.
    """
    form = loss.softmax_form()
    if form is None or top_k:
        return row_loss(loss, scores, columns, rows, top_k=top_k)
    weight = getattr(loss, "negative_weight", 1.0)
    return softmax_loss(scores, columns, rows, form, weight, loss.temperature)


def row_loss(
    loss: Loss,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    *,
    top_k: int = 0,
) -> jax.Array:
    """Return sum_i w_i loss(positive, negatives, weight)_i, block by block.

    Args and returns as `batch_loss`; the rows are constants.
    """
    static, numbers = split(loss)
    choice = _Choice(static, top_k)
    return _row_sum(choice, scores, _Constants(columns, rows, numbers))


class _Choice(NamedTuple):
    """The static arguments of ``row_loss``."""

    loss: Loss
    top_k: int


class _Constants(NamedTuple):
    """The arguments of ``row_loss`` to which no gradient flows."""

    columns: ColumnTerms
    rows: RowTerms
    numbers: dict[str, Any]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_sum(choice: _Choice, scores: Scores, constants: _Constants) -> jax.Array:
    return _row_pass(choice, scores, constants)[0]


class _Sums(NamedTuple):
    """Sums over blocks: the loss, and the gradient [D, C] by the columns."""

    loss: jax.Array
    columns: jax.Array


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
    # The gradient [D, C] of columns that lie as [D, C] runs at three times the speed
    # of [C, D] on a CPU.
    number, matrix = scores.query.shape[0], scores.columns.T

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
    blocks = in_blocks(whole, number, matrix.shape[1])
    start = _Sums(jnp.zeros((), scores.query.dtype), jnp.zeros_like(matrix))
    sums, parts = jax.lax.scan(add_block, start, blocks)
    d_query, d_positive, d_slots = jax.tree.map(lambda x: flat(x, number), parts)
    return sums.loss, Scores(d_query, sums.columns.T, d_positive, d_slots)


def _block_loss(choice: _Choice, scores: Scores, constants: _Constants) -> jax.Array:
    """Return the sum of the weighted losses of the rows of one block.

    Args:
      scores: Of the rows of the block; the columns lie as [D, C].
    """
    rows = constants.rows
    raw = scores.query @ scores.columns
    pairs = column_terms(constants.columns, rows)
    raw = jnp.concatenate([raw, scores.slots], axis=1)
    log_mult = jnp.concatenate([pairs.log_mult, rows.slots.log_mult], axis=1)
    log_count = jnp.concatenate([pairs.log_count, rows.slots.log_count], axis=1)
    log_mult = mask_at_or_above(rows.limit, jax.lax.stop_gradient(raw), log_mult)
    if choice.loss.importance:
        log_mult, log_count = log_mult - log_count, jnp.zeros_like(log_count)
    weight = jnp.exp(log_mult)
    if choice.top_k:
        valid = jnp.where(weight > 0, jax.lax.stop_gradient(raw), -jnp.inf)
        weight = jnp.where(keep_top_k(valid, choice.top_k), weight, 0)
    logits = jnp.where(weight > 0, raw - log_count, 0)
    loss = join(choice.loss, constants.numbers)
    values = loss.of_rows(scores.positive, logits, weight)
    return (rows.weight * values).sum()


def _row_backward(
    choice: _Choice, gradients: Scores, cotangent: jax.Array
) -> tuple[Scores, None]:
    del choice
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients), None


_row_sum.defvjp(_row_pass, _row_backward)
