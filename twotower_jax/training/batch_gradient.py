"""The loss of a batch with its gradient, also of queries in chunks."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.training.batch_loss import (
    Context,
    Weights,
    first_columns_alone,
    loss_of_batch,
)
from twotower_jax.training.queries import (
    QueryTower,
    embed_chunks,
    gradient_of_chunks,
    rows_of_chunk,
)


class BatchLoss(NamedTuple):
    """The result of the loss of a batch.

    Attributes:
      loss: [] weighted mean over the rows.
      items: [B, D] embeddings of the rows' items; no gradient flows.
    """

    loss: jax.Array
    items: jax.Array


def loss_and_gradient(context: Context, weights: Weights) -> tuple[BatchLoss, Weights]:
    """Loss of a batch and its gradient."""
    model, inputs = context.program.structure.model, context.inputs.query
    chunk = rows_of_chunk(model, inputs)
    if not chunk:
        return _loss_and_gradient(context, weights)
    tables = context.state.params["tables"]
    queries = QueryTower(model, inputs, weights.dense, weights.query, tables)
    embedded = embed_chunks(queries, chunk)
    weights = weights._replace(query={}, embedded=(embedded,))
    loss, gradient = _loss_and_gradient(context, weights)
    own = gradient_of_chunks(queries, chunk, gradient.embedded[0])
    dense = jax.tree.map(jnp.add, gradient.dense, own.dense)
    return loss, gradient._replace(dense=dense, query=own.rows | own.histories)


def _loss_and_gradient(context: Context, weights: Weights) -> tuple[BatchLoss, Weights]:
    """Loss of a batch and its gradient.

    Merged columns are computed at their usual, static size. The rare batch with more
    distinct items takes the branch of full size, with the same result.
    """
    size = context.program.structure.merged_size
    columns = context.draws.columns
    at_full_size = partial(_value_and_gradient, context)
    if not 0 < size < columns.encode_ids.shape[0]:
        return at_full_size(weights)
    return jax.lax.cond(
        columns.num_distinct <= size,
        partial(_value_and_gradient, first_columns_alone(context, size)),
        at_full_size,
        weights,
    )


def _value_and_gradient(
    context: Context, weights: Weights
) -> tuple[BatchLoss, Weights]:
    loss = partial(loss_of_batch, context)
    (value, items), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    return BatchLoss(value, items), gradient
