"""Losses of a batch in one pass over blocks of rows; logits are never stored.

A block of rows gives its loss and every gradient in the same pass. Rows are compared
with columns (candidates that all rows share) and with slots (candidates of one row).
The softmax has a pass written by hand (`softmax_pass`). Any other loss is
differentiated block by block.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.blocks import flat, in_blocks
from twotower_jax.losses.limit import below
from twotower_jax.losses.registry import Loss, LossForm, LossNumbers
from twotower_jax.losses.softmax_pass import SoftmaxForm, softmax_loss
from twotower_jax.losses.terms import ColumnTerms, RowTerms, Scores, column_terms
from twotower_jax.sampling.mining import keep_top_k


class LossChoice(NamedTuple):
    """The static arguments of the loss of a batch.

    Attributes:
      loss: Entry of `LOSSES`.
      form: Static choices within the loss.
      top_k: Number of negatives of a row with the best scores, before any correction,
        that are kept; 0 keeps all.
    """

    loss: Loss
    form: LossForm = LossForm()
    top_k: int = 0


def batch_loss(
    choice: LossChoice,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    numbers: LossNumbers,
) -> jax.Array:
    """Sum of the weighted losses of the rows of a batch.

    Args:
      choice: The loss, its form, and the number of negatives that are kept.
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants, but for their weights in a loss at k.
      numbers: Numbers of the loss; constants.

    Returns:
      [] float. Gradients flow to the scores.
    """
    if not choice.loss.softmax or choice.top_k:
        return row_loss(choice, scores, columns, rows, numbers)
    surrogate = choice.form.activation if choice.loss.surrogate else None
    form = SoftmaxForm(choice.form.decoupled, choice.loss.at_k, surrogate)
    weight = None if surrogate else numbers.negative_weight
    return softmax_loss(scores, columns, rows, form, weight, numbers.temperature)


def row_loss(
    choice: LossChoice,
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    numbers: LossNumbers,
) -> jax.Array:
    """Return sum_i w_i loss(positive, negatives, weight)_i, block by block.

    Args:
      choice: The loss, its form, and the number of negatives that are kept.
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants.
      numbers: Numbers of the loss; constants.

    Returns:
      [] float. Gradients flow to the scores.
    """
    return _row_sum(choice, scores, _Constants(columns, rows, numbers))


class _Constants(NamedTuple):
    """The arguments of ``row_loss`` to which no gradient flows."""

    columns: ColumnTerms
    rows: RowTerms
    numbers: LossNumbers


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _row_sum(choice: LossChoice, scores: Scores, constants: _Constants) -> jax.Array:
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
    choice: LossChoice, scores: Scores, constants: _Constants
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


def _block_loss(choice: LossChoice, scores: Scores, constants: _Constants) -> jax.Array:
    """Return the sum of the weighted losses of the rows of one block.

    Args:
      choice: The loss, its form, and the number of negatives that are kept.
      scores: Of the rows of the block; the columns lie as [D, C].
      constants: Terms of the columns and of these rows, and numbers.
    """
    rows = constants.rows
    raw = scores.query @ scores.columns
    pairs = column_terms(constants.columns, rows)
    raw = jnp.concatenate([raw, scores.slots], axis=1)
    log_mult = jnp.concatenate([pairs.log_mult, rows.slots.log_mult], axis=1)
    log_count = jnp.concatenate([pairs.log_count, rows.slots.log_count], axis=1)
    log_mult = below(rows.limit, jax.lax.stop_gradient(raw), log_mult)
    if choice.loss.importance:
        log_mult, log_count = log_mult - log_count, jnp.zeros_like(log_count)
    weight = jnp.exp(log_mult)
    if choice.top_k:
        valid = jnp.where(weight > 0, jax.lax.stop_gradient(raw), -jnp.inf)
        weight = jnp.where(keep_top_k(valid, choice.top_k), weight, 0)
    logits = jnp.where(weight > 0, raw - log_count, 0)
    numbers, form = constants.numbers, choice.form
    values = choice.loss.of_rows(scores.positive, logits, weight, numbers, form)
    return (rows.weight * values).sum()


def _row_backward(
    choice: LossChoice, gradients: Scores, cotangent: jax.Array
) -> tuple[Scores, None]:
    del choice
    return jax.tree.map(lambda gradient: cotangent * gradient, gradients), None


_row_sum.defvjp(_row_pass, _row_backward)
