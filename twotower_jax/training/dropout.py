"""Dropout on the embeddings of queries, in training alone."""

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.model.tower import l2_normalize
from twotower_jax.training.types import Program, TrainState


def drop_numbers(program: Program, state: TrainState, query: jax.Array) -> jax.Array:
    """Query embeddings of a step, some of whose numbers are dropped.

    Each number is kept with probability 1 - p and then divided by it, so that a dot
    product keeps its mean; a cosine gets its length 1 again, as if the numbers had been
    dropped before the normalisation. The masks are a function of seed and step.

    Args:
      query: [B, D] embeddings of the queries.

    Returns:
      [B, D] float32; the same ones without dropout. A row of zeros stays one.

    References:
      Srivastava et al., Dropout, JMLR 2014. Wu et al., BSL, ICDE 2024, code: .1 on the
      embeddings of users.
    """
    share = program.hyper.query_dropout
    if share is None:
        return query
    key = keys.stream(program.hyper.seed, "towers.query_dropout", state.step)
    kept = jax.random.uniform(key, query.shape) >= share
    query = jnp.where(kept, query / (1 - share), 0)
    normalize = program.structure.model.query.normalize
    return l2_normalize(query) if normalize else query
