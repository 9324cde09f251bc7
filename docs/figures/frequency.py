"""The streaming estimate of frequencies beside the true ones."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives import frequency
from twotower_jax.negatives.easy import make_proposal, sample
from twotower_jax.negatives.frequency import log_frequency

STEPS, ALPHA = 3_000, 0.01


def estimate(counts: np.ndarray, batch: int) -> np.ndarray:
    """Return the streamed q+ after 3,000 batches of independent positives: [items]."""
    proposal = make_proposal("popularity", counts, alpha=1.0, smoothing=1e-9)
    seen = frequency.init_frequency(2, 100_000, 100.0)

    def one_step(seen: frequency.Frequency, step: jax.Array):
        key = jax.random.fold_in(jax.random.key(0), step)
        ids = sample(key, proposal, (batch,))
        return frequency.update(seen, ids, step, ALPHA), None

    seen, _ = jax.lax.scan(one_step, seen, jnp.arange(STEPS))
    ids = jnp.arange(len(counts))
    return np.exp(frequency.log_q(seen, ids, batch, STEPS - 1))


def draw() -> Figure:
    """Return estimate / truth by rank, for two batch sizes."""
    counts = zipf_counts()
    truth = np.exp(log_frequency(counts))
    return by_rank(
        {f"batch of {batch}": estimate(counts, batch) / truth for batch in (64, 1024)},
        "streamed / true frequency",
    )
