"""Dynamic negatives: selected by the scores of the model that is being trained."""

import jax
import jax.numpy as jnp
import numpy as np

# Below this log r, log1p(-r) = -r to the last bit, and e^log_r still is a float32.
TINY_LOG_R = -60.0


def best_of(scores: jax.Array) -> jax.Array:
    """Dynamic negative of a slot: the index of its best-scored draw.

    Args:
      scores: [..., candidate_num] float of independent draws. Equal scores: the first.

    Returns:
      [...] int32.

    Examples:
      >>> best_of(jnp.array([0.1, 0.7, 0.7])).tolist()
      1

    References:
      Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
      Sampling, SIGIR 2013; Shi et al., WWW 2023, DNS(M, N) with M = 1.
    """
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def dns_log_prob(
    scores: jax.Array, log_q: jax.Array, candidate_num: jax.Array | int
) -> jax.Array:
    """Exact log probability that `best_of` selects each item.

    With M draws from q and F(s) = sum of q_k over the items with s_k <= s, the best
    score is s with probability F(s)^M - F(s-)^M. Given that, and whichever draws have
    it, the first of them is an independent draw from q among the T items with this
    score: item j with probability q_j / q(T). So

      p_j = q_j / q(T) * (F^M - (F - q(T))^M)
          = q_j / q(T) * F^M * (1 - (1 - q(T) / F)^M),

    computed in logs, so that no difference of nearly equal numbers is taken. Where
    candidate_num = 1 it is q. No gradient passes: scores matter by their order alone.

    Args:
      scores: [..., N] float score of every item of the catalogue.
      log_q: [N] float log probability of a draw; normalised here. -inf is never drawn.
      candidate_num: M >= 1, independent draws per slot; a number, not structure.

    Returns:
      [..., N] float32; -inf where log_q is.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.5]))
      >>> p = jnp.exp(dns_log_prob(jnp.array([0.0, 1.0]), half, 2))
      >>> [round(x, 4) for x in p.tolist()]
      [0.25, 0.75]
    """
    scores, log_q = jax.lax.stop_gradient((scores, log_q))
    draws = jnp.asarray(candidate_num, jnp.float32)
    rows = scores.reshape(-1, scores.shape[-1])
    log_prob = jax.vmap(_dns_row, in_axes=(0, None, None))(
        rows, log_q.astype(jnp.float32), draws
    )
    return log_prob.reshape(scores.shape)


def _dns_row(scores: jax.Array, log_q: jax.Array, draws: jax.Array) -> jax.Array:
    """Return ``dns_log_prob`` of one row of scores [N]; all terms one a tie group."""
    size = scores.shape[0]
    order = jnp.argsort(scores)
    ranked, weight = scores[order], log_q[order]
    new = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] != ranked[:-1]])
    group = jnp.cumsum(new, dtype=jnp.int32)

    peak = jax.ops.segment_max(weight, group, size, indices_are_sorted=True)
    peak = jnp.where(jnp.isneginf(peak), 0, peak)
    mass = jax.ops.segment_sum(
        jnp.exp(weight - peak[group]), group, size, indices_are_sorted=True
    )
    log_mass = jnp.log(mass) + peak
    log_below = jax.lax.cumlogsumexp(log_mass)
    # Rounding may put a group's mass above the sum that it is part of.
    log_r = jnp.minimum(log_mass - log_below, 0)
    small = log_r < TINY_LOG_R
    some = jnp.log(-jnp.expm1(draws * jnp.log1p(-jnp.exp(log_r))))
    log_hit = jnp.where(small, jnp.log(draws) + log_r, some)
    log_best = draws * (log_below - log_below[-1]) + log_hit

    log_prob = weight + (log_best - log_mass)[group]
    log_prob = jnp.where(jnp.isneginf(weight), -jnp.inf, log_prob)
    return jnp.zeros(size, jnp.float32).at[order].set(log_prob, unique_indices=True)


def window(items: np.ndarray, first: int, end: int, num_items: int) -> np.ndarray:
    """Ranks [first, end) of exact top-k lists as pools of hard negatives.

    The first ranks hold items that the user would like as well (false negatives), the
    last ones are easy; a window such as [100, 500) leaves out both.

    Args:
      items: [Q, K] int items, best first; an id outside 0..num_items - 1, such as the
        -1 of `top_k`, is padding.
      first: static rank, from 0.
      end: static rank, above first.
      num_items: size of the catalogue, the id of padding.

    Returns:
      [Q, end - first] int32, also where K is smaller than end; num_items is padding. A
      row without an item in the window is all padding.

    Raises:
      ValueError: unless 0 <= first < end.

    Examples:
      >>> window(np.array([[4, 2, 7, -1]]), 1, 4, num_items=9).tolist()
      [[2, 7, 9]]
    """
    if not 0 <= first < end:
        raise ValueError(
            f"a window of ranks needs 0 <= first < end, got [{first}, {end})"
        )
    part = np.asarray(items, np.int32)[:, first:end]
    missing = end - first - part.shape[1]
    part = np.pad(part, ((0, 0), (0, missing)), constant_values=num_items)
    valid = (part >= 0) & (part < num_items)
    return np.where(valid, part, np.int32(num_items))
