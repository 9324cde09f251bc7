"""Mean of the sampled loss beside the full softmax, by number of draws."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from figures.uniform import user_distribution
from twotower_jax.losses import sampled_softmax
from twotower_jax.negatives.easy import make_proposal, sample

ITEMS, ROWS = 500, 4_000
DRAWS = np.array([2, 4, 8, 16, 32, 64, 128, 256])


def draw() -> Figure:
    """Return the mean loss of a positive under correct=negatives, uniform draws."""
    counts = np.rint(10_000 / np.arange(1, ITEMS + 1))
    scores = jnp.log(jnp.asarray(user_distribution(counts), jnp.float32))
    uniform, positive = make_proposal("uniform", counts), 5
    full = sampled_softmax(
        scores[positive][None], jnp.delete(scores, positive)[None, :]
    )
    most = int(DRAWS.max())
    ids = sample(jax.random.key(0), uniform, (ROWS, most))
    others = (ids != positive).astype(jnp.float32)

    @jax.jit
    def mean_loss(draws: jax.Array) -> jax.Array:
        logits = scores[ids] - uniform.log_q[ids] - jnp.log(draws)
        weight = jnp.where(jnp.arange(most) < draws, others, 0)
        own = jnp.full(ROWS, scores[positive])
        return sampled_softmax(own, logits, weight).mean()

    means = [float(mean_loss(jnp.float32(draws))) for draws in DRAWS]
    return lines(
        {
            "sampled, mean of 4,000 rows": (DRAWS, np.array(means)),
            "full softmax": (DRAWS, np.full(len(DRAWS), float(full[0]))),
        },
        "draws per row",
        "loss of one positive",
        log="x",
    )
