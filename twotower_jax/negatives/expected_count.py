"""Expected counts: how often an item is expected as a negative of a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def log_frequency(counts: np.ndarray) -> np.ndarray:
    """Log of the relative frequencies: log q+_i = log(c_i / C), C = sum_j c_j.

    q+ is the distribution of the items of a batch, so an item without a positive
    cannot be an in-batch negative.

    Args:
      counts: [num_items] training positives c_i of each item.

    Returns:
      [num_items] float32; -inf where c_i = 0.

    Examples:
      >>> np.exp(log_frequency(np.array([3, 1, 0]))).tolist()
      [0.75, 0.25, 0.0]
    """
    counts = np.asarray(counts, np.float64)
    with np.errstate(divide="ignore"):
        return (np.log(counts) - np.log(counts.sum())).astype(np.float32)


def log_effective(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of the effective distribution: log q+_i = log(c_i w_i / sum_j c_j w_j).

    q+ is the distribution of the items of a batch, which the correction of in-batch
    negatives subtracts.

    Args:
      counts: [num_items] training positives c_i of each item.
      weights: [num_items] float64 w_i.

    Returns:
      [num_items] float32; -inf where c_i w_i = 0.

    Examples:
      >>> np.exp(log_effective(np.array([1, 4]), np.array([1.0, 0.75]))).tolist()
      [0.25, 0.75]
    """
    return log_frequency(np.asarray(counts) * weights)


def log_expected_count(*sources: tuple[jax.Array, jax.Array | float]) -> jax.Array:
    """Log of expected counts: log N_j, N_j the sum over sources of draws times q_j.

    For a row with n - 1 in-batch draws from q+, m easy draws from q^E and h hard ones
    from its pool pi_u: N_j(u) = (n - 1) q+_j + m q^E_j + h pi_u(j). logQ subtracts the
    log of this sum, never of one source's q alone, because the source of a negative is
    unknown to its row.

    Args:
      sources: pairs of log probabilities [...] float32 of the items (-inf where a
        source cannot draw one) and the number of draws, a number or an array that
        broadcasts; 0 leaves a source out.

    Returns:
      [...] float32, -inf where no source draws the item.

    Raises:
      ValueError: when there is no source.

    Examples:
      >>> half, tenth = jnp.log(jnp.float32(0.5)), jnp.log(jnp.float32(0.1))
      >>> count = log_expected_count((half, 3), (tenth, 5))  # 3 * .5 + 5 * .1
      >>> round(float(jnp.exp(count)), 4)
      2.0
    """
    if not sources:
        raise ValueError("no source draws a negative; give at least one")
    terms = [
        log_q + jnp.log(jnp.asarray(draws, jnp.float32)) for log_q, draws in sources
    ]
    return functools.reduce(jnp.logaddexp, terms)


def log_inclusion(log_q: jax.Array, draws: float | jax.Array) -> jax.Array:
    """Log probability that an item is among independent draws: 1 - (1 - q)^n.

    Args:
      log_q: [...] float32, log probability of one draw; -inf for never.
      draws: number n, above 0.

    Returns:
      [...] float32, at most 0; -inf where log_q is.

    Examples:
      >>> half = jnp.log(jnp.array([0.5, 0.1]))
      >>> [round(x, 4) for x in jnp.exp(log_inclusion(half, 2)).tolist()]
      [0.75, 0.19]
    """
    never = jnp.log1p(-jnp.minimum(jnp.exp(log_q), 1))
    return jnp.log(-jnp.expm1(draws * never))
