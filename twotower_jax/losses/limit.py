"""Negatives that score too close to the positive: likely false ones, left out."""

import jax
import jax.numpy as jnp


def below(limit: jax.Array | None, scores: jax.Array, terms: jax.Array) -> jax.Array:
    """Terms of the negatives of rows, -inf for those that score at the limit or above.

    Args:
      limit: [b] lowest score that is left out; None leaves none out.
      scores: [b, n] scores of the negatives before any correction.
      terms: [b, n] logs of the numbers of draws, or of their weights.

    Returns:
      [b, n] float.

    Examples:
      >>> scores, none = jnp.array([[0.2, 0.5, 0.9]]), jnp.zeros((1, 3))
      >>> below(jnp.array([0.5]), scores, none).tolist()
      [[0.0, -inf, -inf]]
      >>> below(None, scores, none).tolist()
      [[0.0, 0.0, 0.0]]
    """
    if limit is None:
        return terms
    return jnp.where(scores < limit[:, None], terms, -jnp.inf)
