"""Embeddings of all queries and of the whole catalogue, in blocks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.place_rows import place_rows
from twotower_jax.data.shards import BY_ROWS, on_all, stored_rows, table_shards
from twotower_jax.model.specs import Model
from twotower_jax.model.two_tower import embed_candidates, embed_queries

BLOCK = 4096
PART = 2**16  # queries that a mesh has at a time


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
      [num_items, dim] float32. Where tables are spread over devices, so are the
      embeddings, padded with those of no item to a multiple of the devices.
    """
    with _on_mesh(params, entities) as placed:
        return _all_candidates(model, params, placed, num_items)


@partial(jax.jit, static_argnames=("model", "num_items"))
def _all_candidates(
    model: Model, params: dict, entities: Entities, num_items: int
) -> jax.Array:
    embed = partial(embed_candidates, model, params, entities)
    shards = table_shards()
    if shards == 1:
        ids = jnp.arange(num_items, dtype=jnp.int32)
        return on_all(_in_blocks(embed, ids, num_items, model.candidate.dim))
    own = stored_rows(num_items, shards) // shards
    ids = jnp.arange(shards * own, dtype=jnp.int32).reshape(shards, own)
    # A block has as many items of each device, so that each fills in its own.
    block, dim = min(-(-BLOCK // shards), own), model.candidate.dim

    def fill(place: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(place * block, own - block)
        part = jax.lax.dynamic_slice_in_dim(ids, start, block, axis=1)
        vectors = embed(part.reshape(-1)).reshape(shards, block, dim)
        vectors = jax.lax.with_sharding_constraint(vectors, BY_ROWS)
        return jax.lax.dynamic_update_slice(out, vectors, (0, start, 0))

    empty = jnp.zeros((shards, own, dim), jnp.float32)
    empty = jax.lax.with_sharding_constraint(empty, BY_ROWS)
    out = jax.lax.fori_loop(0, -(-own // block), fill, empty)
    return jax.lax.with_sharding_constraint(out.reshape(-1, dim), BY_ROWS)


def all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array | np.ndarray:
    """Embeddings of queries.

    Args:
      model: the static part.
      params: tables and dense parameters.
      entities: features on the device.
      queries: n queries.

    Returns:
      [n, dim] float32; of numpy on a mesh of several devices, which have some of the
      queries at a time.
    """
    with _on_mesh(params, entities) as placed:
        if mesh_of(params) is None:
            return _all_queries(model, params, placed, queries)
        number, parts = len(queries.user), []
        block = min(number, PART)
        for begin in range(0, number, block):
            start = min(begin, number - block)  # parts of one shape
            some = jax.tree.map(lambda x, at=start: x[at : at + block], queries)
            vectors = np.asarray(_all_queries(model, params, placed, some))
            parts.append(vectors[begin - start :])
        return np.concatenate(parts)


@partial(jax.jit, static_argnames="model")
def _all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    embed = partial(embed_queries, model, params, entities)
    return on_all(_in_blocks(embed, queries, queries.user.shape[0], model.query.dim))


@contextmanager
def _on_mesh(params: dict, entities: Entities) -> Iterator[Entities]:
    """Context with the mesh of the tables, and the features in their place on it."""
    mesh = mesh_of(params)
    if mesh is None:
        yield entities
    else:
        with jax.set_mesh(mesh):
            yield place_rows(mesh, entities)


def mesh_of(params: dict) -> Mesh | None:
    """Return the mesh of the tables, None on one device."""
    for table in params["tables"].values():
        sharding = getattr(table, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            return cast(Mesh, sharding.mesh)
    return None


def _in_blocks(
    embed: Callable[[Any], jax.Array], entities: Any, number: int, dim: int
) -> jax.Array:
    """Return embeddings [number, dim] of entities (arrays [number]), block by block.

    Blocks are alike, so that few entities are embedded twice: the last block is moved
    back so that it fits. A second copy is never held.
    """
    blocks = -(-number // BLOCK)
    block = -(-number // blocks)

    def fill(place: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(place * block, number - block)
        part = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, block), entities
        )
        return jax.lax.dynamic_update_slice(out, embed(part), (start, 0))

    empty = jnp.zeros((number, dim), jnp.float32)
    return jax.lax.fori_loop(0, blocks, fill, empty)
