"""Losses of a batch in one pass over blocks of rows; logits are never stored.

A block of rows gives its loss and every gradient in the same pass. The softmax and PSL
have a pass written by hand; any other loss is differentiated block by block.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.cosine import psl_logits
from twotower_jax.losses.logits import (
    ColumnTerms,
    RowTerms,
    Scores,
    column_terms,
    keep_top_k,
    mask_at_or_above,
)
from twotower_jax.losses.loss import Loss, log_sum
from twotower_jax.registry import join, split

# Elements of one block of logits: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


def block_rows(rows: int, columns: int) -> int:
    """Number of rows of a block; blocks are alike, so that few rows are padding."""
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    fitting = min(MAX_BLOCK_ROWS, fitting)
    if rows <= fitting:
        return rows
    blocks = -(-rows // fitting)
    return min(fitting, -(-rows // (8 * blocks)) * 8)


# Sums over blocks: the loss, and its gradient [D, C] by the columns. A CPU makes it
# three times as fast as [C, D].
_Sums = tuple[jax.Array, jax.Array]


def _scan_rows(
    add_block: Callable[[_Sums, Any], tuple[_Sums, Any]], rows: Any, columns: int
) -> tuple[_Sums, Any]:
    """Return the sums over blocks of rows, and the values that blocks have of each row.

    Of the arrays of rows the query embeddings [B, D] come first; padded rows have
    weight 0.
    """
    query = rows[0]
    number, dim = query.shape
    block = block_rows(number, columns)

    def split_rows(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, -number % block)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(x.shape[0] // block, block, *x.shape[1:])

    def join_rows(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])[:number]

    start = jnp.zeros((), query.dtype), jnp.zeros((dim, columns), query.dtype)
    sums, values = jax.lax.scan(add_block, start, jax.tree.map(split_rows, rows))
    return sums, jax.tree.map(join_rows, values)


def _by_pass(both: Callable[..., tuple[tuple[jax.Array, ...], Any]]) -> Any:
    """Return the function whose first value is a loss, from its values and gradients.

    The arguments are static ones, those of the gradients, and constants.
    """

    def backward(static: Any, gradients: Any, cotangent: tuple[jax.Array, ...]) -> Any:
        del static
        return jax.tree.map(lambda gradient: cotangent[0] * gradient, gradients), None

    function = jax.custom_vjp(lambda *args: both(*args)[0], nondiff_argnums=(0,))
    function.defvjp(both, backward)
    return function


# --- the softmax and PSL, by hand -----------------------------------------------------


class _Form(NamedTuple):
    """The static arguments of the pass."""

    decoupled: bool  # whether e^p is left out of the sum
    activation: str  # of `psl`, whose logits replace the scores; "" for the softmax


def softmax_loss(
    scores: Scores,
    columns: ColumnTerms,
    rows: RowTerms,
    *,
    decoupled: bool = False,
    activation: str = "",
    negative_weight: jax.Array | float = 1.0,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return sum_i w_i (c log (e^p + sum_d e^{s_d - log N_d}) - p) in one pass.

    d runs over the draws of row i: columns with their multiplicity, and slots. If
    decoupled, e^p is left out, and a row without draws has loss 0. With an activation,
    s_d and p are the logits of `psl` at the temperature. The negative weight is the
    factor c. Gradients flow to the scores and to the weights of the rows.
    """
    form = _Form(decoupled, activation)
    rest = _log_sum_outside_columns(scores, rows, form, temperature)
    arguments = _Arguments(
        scores.query, scores.columns, scores.positive, rest, rows.weight
    )
    log_sums, filled = _softmax_sum(form, arguments, (columns, rows, temperature))
    total = negative_weight * log_sums
    if activation:
        return total
    return total - (rows.weight * filled * scores.positive).sum()


def _log_sum_outside_columns(
    scores: Scores, rows: RowTerms, form: _Form, temperature: jax.Array | float
) -> jax.Array:
    """Return the log sum of the terms of each row [B] that are in no column.

    They are the positive, unless decoupled, and the slots; -inf for none.
    """
    positive, logits = scores.positive, scores.slots
    if form.activation:
        logits = psl_logits(form.activation, positive, logits, temperature)
        positive = jnp.zeros_like(positive)
    if not logits.shape[1]:
        return jnp.full_like(positive, -jnp.inf) if form.decoupled else positive
    raw = jax.lax.stop_gradient(scores.slots)
    log_mult = mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
    own = logits - rows.slots.log_count + log_mult
    if not form.decoupled:
        own = jnp.concatenate([positive[:, None], own], axis=1)
    rest, filled = log_sum(own)
    return jnp.where(filled, rest, -jnp.inf)


class _Arguments(NamedTuple):
    """The arguments of a pass to which gradients flow, or the gradients."""

    query: jax.Array  # [B, D] query embeddings over the temperature
    matrix: jax.Array  # [C, D] candidate embeddings of the columns
    positive: jax.Array  # [B] logit of the positive, which `psl` alone reads
    rest: jax.Array  # [B] log sum of the terms that are in no column
    weight: jax.Array  # [B] weight of the row


@_by_pass
def _softmax_sum(
    form: _Form, arguments: _Arguments, constants: Any
) -> tuple[tuple[jax.Array, ...], _Arguments]:
    """Return sum_i w_i log(e^{rest_i} + sum_c e^{logit_ic}) and its gradients.

    With the sum stands which rows have any term, [B] float.
    """
    matrix, dtype = arguments.matrix, arguments.query.dtype
    columns, rows, temperature = constants

    def add_block(sums: _Sums, block: Any) -> tuple[_Sums, Any]:
        query, positive, rest, rows = block
        raw = query @ matrix.T
        logits, slope = raw, 1.0
        if form.activation:
            logits, slope = jax.jvp(
                lambda x: psl_logits(form.activation, positive, x, temperature),
                (raw,),
                (jnp.ones_like(raw),),
            )
        logits += mask_at_or_above(rows.limit, raw, column_terms(columns, rows).bias)
        top = jnp.maximum(logits.max(axis=1, initial=-jnp.inf), rest)
        # Only a decoupled row may have no term at all.
        filled = top > -jnp.inf if form.decoupled else jnp.ones(top.shape, bool)
        top = jnp.where(filled, top, 0)
        weights = jnp.exp(logits - top[:, None])
        first = jnp.exp(rest - top)
        total = jnp.where(filled, weights.sum(axis=1) + first, 1)
        scaled = rows.weight / total
        forces = weights * slope
        d_query = (forces @ matrix) * scaled[:, None]
        log_sums = top + jnp.log(total)
        loss = sums[0] + (rows.weight * log_sums).sum()
        d_columns = sums[1] + (query * scaled[:, None]).T @ forces
        d_positive = jnp.zeros_like(top)
        if form.activation:
            d_positive = -forces.sum(axis=1) * scaled
        values = d_query, d_positive, first * scaled, log_sums, filled.astype(dtype)
        return (loss, d_columns), values

    rows = rows._replace(weight=arguments.weight)
    blocks = (arguments.query, arguments.positive, arguments.rest, rows)
    sums, values = _scan_rows(add_block, blocks, matrix.shape[0])
    d_query, d_positive, d_rest, d_weight, filled = values
    gradients = _Arguments(d_query, sums[1].T, d_positive, d_rest, d_weight)
    return (sums[0], filled), gradients


# --- any loss -------------------------------------------------------------------------


def batch_loss(
    loss: Loss, scores: Scores, columns: ColumnTerms, rows: RowTerms, *, top_k: int = 0
) -> jax.Array:
    """Sum of the weighted losses of the rows of a batch."""
    if loss.softmax_pass and not top_k:
        return softmax_loss(
            scores,
            columns,
            rows,
            decoupled=loss.decoupled,
            activation=loss.activation,
            negative_weight=loss.negative_weight,
            temperature=loss.temperature,
        )
    static, numbers = split(loss)
    return _row_sum((static, top_k), scores, (columns, rows, numbers))[0]


@_by_pass
def _row_sum(
    static: tuple[Loss, int], scores: Scores, constants: Any
) -> tuple[tuple[jax.Array, ...], Scores]:
    """Return sum_i w_i loss(positive, negatives, weight)_i, and its gradients."""
    matrix, (columns, rows, numbers) = scores.columns.T, constants

    def add_block(sums: _Sums, block: Any) -> tuple[_Sums, Any]:
        query, positive, slots, rows = block
        loss, gradient = jax.value_and_grad(_block_loss, argnums=1)(
            static,
            Scores(query, matrix, positive, slots),
            (columns, rows, numbers),
        )
        values = gradient.query, gradient.positive, gradient.slots
        return (sums[0] + loss, sums[1] + gradient.columns), values

    blocks = (scores.query, scores.positive, scores.slots, rows)
    sums, (d_query, d_positive, d_slots) = _scan_rows(
        add_block, blocks, matrix.shape[1]
    )
    return (sums[0],), Scores(d_query, sums[1].T, d_positive, d_slots)


def _block_loss(static: tuple[Loss, int], scores: Scores, constants: Any) -> jax.Array:
    """Return the sum of the weighted losses of the rows of one block."""
    (loss, top_k), (columns, rows, numbers) = static, constants
    raw = scores.query @ scores.columns
    pairs = column_terms(columns, rows)
    raw = jnp.concatenate([raw, scores.slots], axis=1)
    log_mult, log_count = (
        jnp.concatenate(parts, axis=1) for parts in zip(pairs, rows.slots, strict=True)
    )
    log_mult = mask_at_or_above(rows.limit, jax.lax.stop_gradient(raw), log_mult)
    if loss.importance:
        log_mult, log_count = log_mult - log_count, jnp.zeros_like(log_count)
    weight = jnp.exp(log_mult)
    if top_k:
        valid = jnp.where(weight > 0, jax.lax.stop_gradient(raw), -jnp.inf)
        weight = jnp.where(keep_top_k(valid, top_k), weight, 0)
    logits = jnp.where(weight > 0, raw - log_count, 0)
    values = join(loss, numbers).of_rows(scores.positive, logits, weight)
    return (rows.weight * values).sum()
