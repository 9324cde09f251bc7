"""The filter of negatives that score nearly as high as the positive."""

import jax
import jax.numpy as jnp

from twotower_jax.training.types import Program, TrainState


def score_limit(
    program: Program, state: TrainState, positive: jax.Array
) -> jax.Array | None:
    """Score from which on a negative is left out of its row: gamma s_p.

    Negative j is kept iff s_j < gamma s_p, with scores of the current model before any
    correction. Both sides may be over the temperature, which is positive. Likely false
    negatives are left out so; with s_p < 0 and gamma < 1 some are that score below p.

    Args:
      positive: [B] scores of the positives, before any correction.

    Returns:
      [B] float, without gradient; None where no negative is left out.

    References:
      Qu et al., RocketQA, NAACL 2021 (denoised hard negatives); Moreira et al.,
      NV-Retriever, 2024 (TopK-PercPos: below a share of the positive's score).
    """
    numbers = program.hyper.filter
    if numbers is None:
        return None
    limit = numbers.gamma * jax.lax.stop_gradient(positive)
    return jnp.where(state.step >= numbers.warmup, limit, jnp.inf)


def too_close(
    program: Program, state: TrainState, positive: jax.Array, scores: jax.Array
) -> jax.Array:
    """Whether the filter leaves candidates of rows out.

    Args:
      positive: [B] scores of the positives.
      scores: [B, ...] scores of the candidates, in the same units.

    Returns:
      [B, ...] bool.
    """
    limit = score_limit(program, state, positive)
    if limit is None:
        return jnp.zeros(scores.shape, bool)
    return scores >= limit.reshape(-1, *[1] * (scores.ndim - 1))
