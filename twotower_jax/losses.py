"""Losses of arrays: per-row values, no configuration, no keys.

A row has one positive and any number of negatives. Logits are scores (dot product over
temperature), corrected and masked by the caller; a logit of -inf is a masked negative
and has probability and gradient 0 exactly.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

# Elements of one block of logits in the sweep: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


def sampled_softmax(positive: jax.Array, negatives: jax.Array) -> jax.Array:
    """Return -log [ e^p / (e^p + sum_j e^{n_j}) ] of every row.

    Args:
      positive: [batch] logit of the positive.
      negatives: [batch, columns] logits of the negatives; -inf masks one.

    Returns:
      [batch] float32 loss, unreduced. A row with every negative masked gives 0.

    Raises:
      ValueError: when the shapes do not match.

    Examples:
      >>> import jax.numpy as jnp
      >>> loss = sampled_softmax(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 4
      1.3863

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4 (both
      corrected); Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025
      (negatives corrected by their expected count, positive not).
    """
    if positive.shape != negatives.shape[:1]:
        raise ValueError(
            f"positive must be [batch] and negatives [batch, columns], got "
            f"{positive.shape} and {negatives.shape}"
        )
    logits = jnp.concatenate([positive[:, None], negatives], axis=1)
    return jax.nn.logsumexp(logits, axis=1) - positive


def full_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross-entropy over the whole catalogue, the oracle: [batch].

    Args:
      logits: [batch, num_items] scores, uncorrected.
      labels: [batch] int32, the positive's item.
    """
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def column_logits(
    query: jax.Array,
    columns: jax.Array,
    bias: jax.Array,
    column_key: jax.Array,
    row_key: jax.Array,
    own_bias: jax.Array,
) -> jax.Array:
    """Return logits [B, C]: query @ columns^T + bias, and own_bias where keys match.

    Args:
      query: [B, D] query embeddings over the temperature.
      columns: [C, D] candidate embeddings.
      bias: [C] log multiplicity minus the correction.
      column_key, row_key: [C] and [B] int32; equal keys mark the row's own item.
      own_bias: [B] bias of the row's own item; -inf masks it.
    """
    own = column_key[None, :] == row_key[:, None]
    return query @ columns.T + jnp.where(own, own_bias[:, None], bias[None, :])


@jax.custom_vjp
def softmax_sweep(
    query: jax.Array,
    columns: jax.Array,
    positive: jax.Array,
    bias: jax.Array,
    column_key: jax.Array,
    row_key: jax.Array,
    own_bias: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """Return sum_i w_i sampled_softmax(positive, column_logits(...))_i, in one sweep.

    Equal to the plain losses above, but the B x C logits are never stored: blocks of
    rows give the loss and every gradient in the same pass, with the maximum of the
    row subtracted, so that it is finite at any temperature.

    Args:
      query, columns, bias, column_key, row_key, own_bias: as in ``column_logits``.
      positive: [B] logit of the row's positive.
      weight: [B] weight of a row in the sum.

    Returns:
      A scalar. Gradients flow to query, columns and positive only; the biases and
      weights are constants.
    """
    return _sweep(
        query, columns, positive, bias, column_key, row_key, own_bias, weight
    )[0]


def block_rows(rows: int, columns: int) -> int:
    """Return how many rows a block of the sweep has."""
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    return min(MAX_BLOCK_ROWS, fitting, rows)


def _sweep(query, columns, positive, bias, column_key, row_key, own_bias, weight):
    rows, dim = query.shape
    block = block_rows(rows, columns.shape[0])
    pad = -rows % block
    split = partial(_in_blocks, pad=pad, block=block)
    blocks = tuple(map(split, (query, positive, row_key, own_bias, weight)))

    def one_block(carry, rows_of_block):
        loss, d_columns = carry
        q, pos, key, own_b, w = rows_of_block
        logits = column_logits(q, columns, bias, column_key, key, own_b)
        top = jnp.maximum(logits.max(axis=1), pos)
        weights = jnp.exp(logits - top[:, None])
        total = weights.sum(axis=1) + jnp.exp(pos - top)
        log_total = top + jnp.log(total)
        scaled = w / total
        d_query = (weights @ columns) * scaled[:, None]
        # [D, C] = q^T e runs at three times the speed of [C, D] = e^T q on a CPU.
        d_columns = d_columns + (q * scaled[:, None]).T @ weights
        d_positive = w * jnp.expm1(pos - log_total)
        loss = loss + (w * (log_total - pos)).sum()
        return (loss, d_columns), (d_query, d_positive)

    start = (
        jnp.zeros((), query.dtype),
        jnp.zeros((dim, columns.shape[0]), query.dtype),
    )
    (loss, d_columns), (d_query, d_positive) = jax.lax.scan(one_block, start, blocks)
    d_query = d_query.reshape(-1, dim)[:rows]
    return loss, (d_query, d_columns.T, d_positive.reshape(-1)[:rows])


def _in_blocks(x: jax.Array, *, pad: int, block: int) -> jax.Array:
    """Pad axis 0 with zeros (weight 0 for padded rows) and split it into blocks."""
    x = jnp.pad(x, [(0, pad)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(-1, block, *x.shape[1:])


def _sweep_forward(*args):
    return _sweep(*args)


def _sweep_backward(gradients, cotangent):
    d_query, d_columns, d_positive = gradients
    return (
        cotangent * d_query,
        cotangent * d_columns,
        cotangent * d_positive,
        *(None,) * 5,
    )


softmax_sweep.defvjp(_sweep_forward, _sweep_backward)


# Losses of a batch by name, with the arguments of ``softmax_sweep``.
LOSSES: dict[str, Callable[..., jax.Array]] = {
    "sampled_softmax": softmax_sweep,
    "full_softmax": softmax_sweep,
}
# Those whose columns are every item, instead of the negatives that were drawn.
WHOLE_CATALOGUE = frozenset({"full_softmax"})
