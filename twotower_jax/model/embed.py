"""Embeddings of all queries and of the whole catalogue, in blocks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.model.specs import Model
from twotower_jax.model.two_tower import embed_candidates, embed_queries

BLOCK = 4096


@partial(jax.jit, static_argnames=("model", "num_items"))
def all_candidates(
    model: Model, params: dict, entities: Entities, num_items: int
) -> jax.Array:
    """Embeddings of the whole catalogue.

    Args:
      model: the static part.
      params: tables and dense parameters.
      entities: features on the device.
      num_items: size of the catalogue.

    Returns:
      [num_items, dim] float32.
    """
    ids = jnp.arange(num_items, dtype=jnp.int32)
    embed = partial(embed_candidates, model, params, entities)
    return _in_blocks(embed, ids, num_items, model.candidate.dim)


@partial(jax.jit, static_argnames="model")
def all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Embeddings of queries.

    Args:
      model: the static part.
      params: tables and dense parameters.
      entities: features on the device.
      queries: n queries.

    Returns:
      [n, dim] float32.
    """
    embed = partial(embed_queries, model, params, entities)
    return _in_blocks(embed, queries, queries.user.shape[0], model.query.dim)


def _in_blocks(
    embed: Callable[[Any], jax.Array], entities: Any, number: int, dim: int
) -> jax.Array:
    """Return embeddings [number, dim] of entities (arrays [number]), block by block.

    The last block is moved back so that it fits; a second copy is never held.
    """
    block = min(BLOCK, number)

    def fill(place: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(place * block, number - block)
        part = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, block), entities
        )
        return jax.lax.dynamic_update_slice(out, embed(part), (start, 0))

    empty = jnp.zeros((number, dim), jnp.float32)
    return jax.lax.fori_loop(0, -(-number // block), fill, empty)
