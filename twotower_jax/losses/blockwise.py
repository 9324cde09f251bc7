"""Losses of a batch in one pass over blocks of rows; logits are never stored.

A block of rows gives its loss and every gradient in the same pass. Rows are compared
with columns (candidates that all rows share) and with slots (candidates of one row).
The softmax and PSL have a pass written by hand. Any other loss is differentiated block
by block.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.cosine import psl_logits
from twotower_jax.losses.logits import (
    ColumnTerms,
    RowTerms,
    Scores,
    bias,
    column_terms,
    keep_top_k,
    mask_at_or_above,
)
from twotower_jax.losses.loss import Loss, SoftmaxForm, log_sum
from twotower_jax.registry import join, split

# Elements of one block of logits: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


def block_rows(rows: int, columns: int) -> int:
    """Number of rows of a block; blocks are alike, so that few rows are padding.

    Examples:
      >>> block_rows(4096, 4096), block_rows(4096, 2**20), block_rows(5, 10)
      (512, 8, 5)
      >>> block_rows(1024, 12_000)  # 168 fit: seven blocks of 152 for seven of 168
      152
    """
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    fitting = min(MAX_BLOCK_ROWS, fitting)
    if rows <= fitting:
        return rows
    blocks = -(-rows // fitting)
    return min(fitting, -(-rows // (8 * blocks)) * 8)


def in_blocks(tree: Any, rows: int, columns: int) -> Any:
    """A tree of arrays in blocks of rows; padded rows have weight 0."""
    block = block_rows(rows, columns)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, -rows % block)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(x.shape[0] // block, block, *x.shape[1:])

    return jax.tree.map(split, tree)


def flat(blocks: jax.Array, rows: int) -> jax.Array:
    """Blocks as one array."""
    number = blocks.shape[0] * blocks.shape[1]
    return blocks.reshape(number, *blocks.shape[2:])[:rows]


# --- the softmax and PSL, by hand -----------------------------------------------------


COUPLED = SoftmaxForm()


def softmax_loss(
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    form: SoftmaxForm = COUPLED,
    negative_weight: jax.Array | float = 1.0,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return sum_i w_i (c log (e^p + sum_d e^{s_d - log N_d}) - p) in one pass.

    d runs over the draws of row i: columns with their multiplicity, and slots. If
    decoupled, e^p is left out of the sum, and a row without draws has loss 0. With a
    surrogate, s_d and p are the logits of `psl`, of which that of the positive is 0.

    Args:
      scores: Scores of B rows, C columns and K slots per row.
      columns: Terms of the columns; constants.
      rows: Terms of the rows; constants, but for the weights if ``form.weighted``.
      form: Static choices.
      negative_weight: Factor c of the logarithm.
      temperature: Temperature of the scores, which a surrogate reads.

    Returns:
      [] float. Gradients flow to the scores.

    Examples:
      >>> from twotower_jax.losses.logits import PairTerms
      >>> columns = ColumnTerms(jnp.zeros(2), jnp.zeros((1, 2)), jnp.arange(2))
      >>> none = PairTerms(*2 * [jnp.zeros((1, 0))])
      >>> masked = jnp.full(1, -jnp.inf)
      >>> rows = RowTerms(jnp.ones(1), jnp.array([1]), masked, jnp.zeros(1), none)
      >>> equal = Scores(jnp.ones((1, 1)), jnp.ones((2, 1)), jnp.ones(1), none.log_mult)
      >>> round(float(softmax_loss(equal, columns, rows)), 4)  # log 2: own item masked
      0.6931
    """
    rest = _log_sum_outside_columns(scores, rows, form, temperature)
    arguments = _Arguments(
        scores.query, scores.columns, scores.positive, rest, rows.weight
    )
    constants = _SoftmaxConstants(columns, rows, temperature)
    sums: _Result = _softmax_sum(form, arguments, constants)
    total = negative_weight * sums.log_sums
    if form.surrogate:
        return total
    return total - (rows.weight * sums.filled * scores.positive).sum()


def _log_sum_outside_columns(
    scores: Scores, rows: RowTerms, form: SoftmaxForm, temperature: jax.Array | float
) -> jax.Array:
    """Return the log sum of the terms of each row [B] that are in no column.

    They are the positive, unless decoupled, and the slots; -inf for none.
    """
    positive, logits = scores.positive, scores.slots
    if form.surrogate:
        logits = psl_logits(form.surrogate, positive, logits, temperature)
        positive = jnp.zeros_like(positive)
    if not logits.shape[1]:
        return jnp.full_like(positive, -jnp.inf) if form.decoupled else positive
    raw = jax.lax.stop_gradient(scores.slots)
    log_mult = mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
    own = logits - rows.slots.log_count + log_mult
    if form.decoupled:
        rest, filled = log_sum(own)
        return jnp.where(filled, rest, -jnp.inf)
    # With the positive among them, so that every slot of a row may be masked.
    parts = jnp.concatenate([positive[:, None], own], axis=1)
    return jax.nn.logsumexp(parts, axis=1)


class _Arguments(NamedTuple):
    """The arguments of a pass to which gradients flow, or the gradients.

    Attributes:
      query: [B, D] query embeddings over the temperature.
      matrix: [C, D] candidate embeddings of the columns.
      positive: [B] logit of the positive, which a surrogate alone reads.
      rest: [B] log sum of the terms that are in no column.
      weight: [B] weight of the row; a gradient of 0 where it is not computed.
    """

    query: jax.Array
    matrix: jax.Array
    positive: jax.Array
    rest: jax.Array
    weight: jax.Array


class _SoftmaxConstants(NamedTuple):
    """The arguments of a pass to which no gradient flows."""

    columns: ColumnTerms
    rows: RowTerms
    temperature: jax.Array | float


class _Result(NamedTuple):
    """The result of a pass.

    Attributes:
      log_sums: [] weighted sum of the logarithms.
      filled: [B] float, 0 for rows without any term.
    """

    log_sums: jax.Array
    filled: jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _softmax_sum(
    form: SoftmaxForm, arguments: _Arguments, constants: _SoftmaxConstants
) -> _Result:
    """Return sum_i w_i log(e^{rest_i} + sum_c e^{logit_ic})."""
    return _softmax_pass(form, arguments, constants)[0]


class _Block(NamedTuple):
    """The rows of one block: query embeddings, logits beside the columns, terms."""

    query: jax.Array
    positive: jax.Array
    rest: jax.Array
    rows: RowTerms


class _Sums(NamedTuple):
    """Sums over blocks: the loss, and the gradient by the columns."""

    loss: jax.Array
    columns: jax.Array


class _Rows(NamedTuple):
    """Results of single rows: gradients, log sums, and whether a row has any term."""

    query: jax.Array
    positive: jax.Array
    rest: jax.Array
    log_sum: jax.Array
    filled: jax.Array


def _softmax_pass(
    form: SoftmaxForm, arguments: _Arguments, constants: _SoftmaxConstants
) -> tuple[_Result, _Arguments]:
    """Return the sum and its gradients."""
    query, matrix, positive, rest, weight = arguments
    columns, rows, temperature = constants
    number, dim = query.shape

    def add_block(sums: _Sums, block: _Block) -> tuple[_Sums, _Rows]:
        raw = block.query @ matrix.T
        logits, slope = _logits(form, raw, block.positive, temperature)
        logits += mask_at_or_above(block.rows.limit, raw, bias(columns, block.rows))
        top = jnp.maximum(logits.max(axis=1, initial=-jnp.inf), block.rest)
        # Only a decoupled row may have no term at all.
        filled = top > -jnp.inf if form.decoupled else jnp.ones(top.shape, bool)
        top = jnp.where(filled, top, 0)
        weights = jnp.exp(logits - top[:, None])
        first = jnp.exp(block.rest - top)
        total = jnp.where(filled, weights.sum(axis=1) + first, 1)
        scaled = block.rows.weight / total
        forces = weights * slope
        d_query = (forces @ matrix) * scaled[:, None]
        # [D, C] = q^T e runs at three times the speed of [C, D] = e^T q on a CPU.
        d_columns = sums.columns + (block.query * scaled[:, None]).T @ forces
        log_sums = top + jnp.log(total)
        loss = sums.loss + (block.rows.weight * log_sums).sum()
        none = jnp.zeros_like(top)
        of_rows = _Rows(
            d_query,
            -forces.sum(axis=1) * scaled if form.surrogate else none,
            first * scaled,
            log_sums if form.weighted else none,
            filled.astype(query.dtype),
        )
        return _Sums(loss, d_columns), of_rows

    start = _Sums(
        jnp.zeros((), query.dtype), jnp.zeros((dim, matrix.shape[0]), query.dtype)
    )
    blocks = _Block(query, positive, rest, rows._replace(weight=weight))
    blocks = in_blocks(blocks, number, matrix.shape[0])
    sums, of_rows = jax.lax.scan(add_block, start, blocks)
    of_rows = jax.tree.map(lambda x: flat(x, number), of_rows)
    gradients = _Arguments(
        of_rows.query, sums.columns.T, of_rows.positive, of_rows.rest, of_rows.log_sum
    )
    return _Result(sums.loss, of_rows.filled), gradients


def _logits(
    form: SoftmaxForm,
    raw: jax.Array,
    positive: jax.Array,
    temperature: jax.Array | float,
) -> tuple[jax.Array, jax.Array | float]:
    """Return the logits of scores, and their slope."""
    surrogate = form.surrogate
    if not surrogate:
        return raw, 1.0

    def of_scores(scores: jax.Array) -> jax.Array:
        return psl_logits(surrogate, positive, scores, temperature)

    return jax.jvp(of_scores, (raw,), (jnp.ones_like(raw),))


def _softmax_backward(
    form: SoftmaxForm, gradients: _Arguments, cotangent: _Result
) -> tuple[_Arguments, None]:
    del form
    by_loss = jax.tree.map(lambda one: cotangent.log_sums * one, gradients)
    return by_loss, None


_softmax_sum.defvjp(_softmax_pass, _softmax_backward)


# --- any loss -------------------------------------------------------------------------


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
