"""Expected counts: how often an item is expected as a negative of a row."""

import jax
import jax.numpy as jnp
import numpy as np


def log_frequency(counts: np.ndarray) -> np.ndarray:
    """Return log q+_i = log(c_i / C), [num_items] float32; -inf where c_i = 0.

    q+ is the distribution of the items of a batch, so an item without a positive
    cannot be an in-batch negative.
    """
    counts = np.asarray(counts, np.float64)
    with np.errstate(divide="ignore"):
        return (np.log(counts) - np.log(counts.sum())).astype(np.float32)


def log_expected_count(
    log_q_batch: jax.Array | None,
    batch_draws: int,
    log_q_easy: jax.Array | None,
    easy_draws: int,
) -> jax.Array:
    """Return log N_j, N_j = (n - 1) q+_j + m q^E_j, for the mixture of a row.

    logQ subtracts the log of this sum, never of one source's q alone: a row does
    not know which source drew an item.

    Args:
      log_q_batch: [...] log q+ of the items, or None.
      batch_draws: n - 1, the number of other positives of the batch; 0 for none.
      log_q_easy: [...] log probability under the easy proposal, or None.
      easy_draws: m, the number of shared easy draws; 0 for none.

    Returns:
      [...] float32, the shape of the inputs.

    Raises:
      ValueError: when no source draws anything.
    """
    terms = [
        log_q + jnp.log(jnp.float32(draws))
        for log_q, draws in ((log_q_batch, batch_draws), (log_q_easy, easy_draws))
        if log_q is not None and draws > 0
    ]
    if not terms:
        raise ValueError(
            f"no source draws a negative: batch_draws={batch_draws}, "
            f"easy_draws={easy_draws}"
        )
    return terms[0] if len(terms) == 1 else jnp.logaddexp(*terms)
