"""The log probability of draws that are resampled from a drawn pool by e^s / q."""

import jax
import jax.numpy as jnp


def resampled_log_prob(
    item: jax.Array, log_weight: jax.Array, log_q: jax.Array, *, alone: bool
) -> jax.Array:
    """Log probability of a draw from each row's pool in proportion to its weights.

    The pool of a row are M draws from q. A draw is place k with probability
    w_k / sum_m w_m. Its item may stand at several places, and given the pool, item j is
    drawn with

      pi(j) = sum of w_k over the places of j / sum_m w_m.

    Beside draws that can be any item, logQ with this pi is exact given the pool, as for
    any pool. Alone, draws of the pool say nothing of the items outside of it. Then

      e^{s_j} / ((1 / M) sum_m w_m) = M q_j w_j / sum_m w_m

    is returned for w = e^s / q: the softmax with an estimate of its sum. The mean of
    e^{s_j} over it is the sum of all e^s, exactly so over pools and draws.

    Args:
      item: [B, M] int32 items of the pool, which may repeat.
      log_weight: [B, M] float32, log w_k; -inf for one that is never drawn.
      log_q: [B, M] float32, log probability of the item as a draw of the pool.
      alone: Whether a row has no other draws.

    Returns:
      [B, M] float32, equal at the places of an item; -inf where the weight is 0.

    Examples:
      >>> item, one = jnp.array([[4, 7, 4]]), jnp.zeros((1, 3))
      >>> law = jnp.exp(resampled_log_prob(item, one, one, alone=False))
      >>> [round(x, 4) for x in law[0].tolist()]
      [0.6667, 0.3333, 0.6667]

    References:
      Chen et al., WWW 2022 (AdaSIR), sections 3 and 4.
    """
    top = log_weight.max(axis=1, keepdims=True)
    top = jnp.where(jnp.isneginf(top), 0, top)
    weight = jnp.exp(log_weight - top)
    total = weight.sum(axis=1, keepdims=True)
    log_total = jnp.log(jnp.where(total > 0, total, 1)) + top
    if alone:
        number = jnp.log(jnp.float32(item.shape[1]))
        return log_weight + log_q + number - log_total
    same = item[:, :, None] == item[:, None, :]
    merged = jnp.einsum("bij,bj->bi", same.astype(weight.dtype), weight)
    return jnp.where(weight > 0, jnp.log(merged) + top - log_total, -jnp.inf)
