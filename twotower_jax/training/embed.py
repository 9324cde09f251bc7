"""Embeddings of all queries and of the whole catalogue, in blocks."""

from functools import partial

import jax
import jax.numpy as jnp

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.training.model import Model, embed_candidates, embed_queries

BLOCK = 4096


def all_candidates(
    model: Model, params: dict, entities: Entities, num_items: int
) -> jax.Array:
    """Return candidate embeddings [num_items, dim]."""
    return _all_candidates(model, params, entities, num_items)[:num_items]


@partial(jax.jit, static_argnames=("model", "num_items"))
def _all_candidates(model, params, entities, num_items):
    blocks = _blocks(jnp.arange(num_items, dtype=jnp.int32))
    one = partial(embed_candidates, model, params, entities)
    return jax.lax.map(one, blocks).reshape(-1, model.candidate.dim)


def all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Return query embeddings [queries, dim]."""
    return _all_queries(model, params, entities, queries)[: queries.user.shape[0]]


@partial(jax.jit, static_argnames="model")
def _all_queries(model, params, entities, queries):
    blocks = jax.tree.map(_blocks, queries)
    one = partial(embed_queries, model, params, entities)
    return jax.lax.map(one, blocks).reshape(-1, model.query.dim)


def _blocks(x: jax.Array) -> jax.Array:
    """Split axis 0 into blocks, the last one padded with zeros."""
    block = min(BLOCK, x.shape[0])
    return jnp.pad(x, (0, -x.shape[0] % block)).reshape(-1, block)
