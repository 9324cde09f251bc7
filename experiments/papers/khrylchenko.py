"""Expected gradients of corrected softmax losses, against the full softmax.

    python experiments/papers/khrylchenko.py

A row has 200 items with scores from N(0, 2^2), a positive whose probability P is set,
and K negatives drawn by Zipf's law. For each form of the correction this compares the
mean gradient by the scores with that of the full softmax: the ratio of their lengths,
and the length of the difference over that of the latter. It writes results.csv and the
tables between the marks of README.md, in the folder khrylchenko.
"""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from cells import insert, interval

from twotower_jax.losses.rowwise import sampled_softmax

HERE = Path(__file__).parent / "khrylchenko"
ITEMS, DRAWN, CHUNKS, SEEDS = 200, 2_000, 4, 5
LOG_Q = -np.log(np.arange(1, ITEMS + 1)) - np.log(sum(1 / np.arange(1, ITEMS + 1)))
COUNTS = (8, 64, 512)
PLACES = {"most popular": 0, "least popular": ITEMS - 1}


def uncorrected(positive, negatives, log_q, log_k, log_q_positive):
    """No log q."""
    return sampled_softmax(positive, negatives)


def corrected_all(positive, negatives, log_q, log_k, log_q_positive):
    """Every logit less the log of its expected count (Yi et al. 2019)."""
    own = positive - log_k - log_q_positive
    return sampled_softmax(own, negatives - log_k - log_q)


def corrected_negatives(positive, negatives, log_q, log_k, log_q_positive):
    """The negatives less the log of their expected count."""
    return sampled_softmax(positive, negatives - log_k - log_q)


def without_the_count(positive, negatives, log_q, log_k, log_q_positive):
    """The negatives less log q, without the number of draws."""
    return sampled_softmax(positive, negatives - log_q)


def weighted(positive, negatives, log_q, log_k, log_q_positive):
    """The form of Khrylchenko et al. 2025, with q among the other items."""
    others = jnp.log1p(-jnp.exp(log_q_positive))
    logits = negatives - (log_q - others)
    real = jnp.isfinite(logits).sum(axis=1)
    total = jax.nn.logsumexp(logits, axis=1)
    share = jax.nn.sigmoid(total - jnp.log(real) - positive)  # 1 - P^
    return -jax.lax.stop_gradient(share) * (positive - total)


FORMS: dict[str, Callable] = {
    "none": uncorrected,
    "all": corrected_all,
    "negatives": corrected_negatives,
    "negatives, no count": without_the_count,
    "Khrylchenko": weighted,
}


@partial(jax.jit, static_argnames=("form", "number"))
def gradient(
    form: str, number: int, scores: jax.Array, place: int, key: jax.Array
) -> jax.Array:
    """Return the mean gradient by the scores over DRAWN rows, [ITEMS].

    Draws that equal the positive are left out.
    """
    log_q = jnp.asarray(LOG_Q)
    drawn = jax.random.choice(key, ITEMS, (DRAWN, number), p=jnp.exp(log_q))

    def loss(scores: jax.Array) -> jax.Array:
        kept = drawn != place
        negatives = jnp.where(kept, scores[drawn], -jnp.inf)
        positive = jnp.broadcast_to(scores[place], (DRAWN,))
        of_draws = jnp.where(kept, log_q[drawn], 0.0)
        log_k = jnp.log(jnp.float32(number))
        return FORMS[form](positive, negatives, of_draws, log_k, log_q[place]).mean()

    return jax.grad(loss)(scores)


def mean_gradient(
    form: str, number: int, scores: np.ndarray, place: int, seed: int
) -> np.ndarray:
    """Return the mean gradient by the scores over all rows, [ITEMS]."""
    keys = jax.random.split(jax.random.key(seed), CHUNKS)
    parts = [gradient(form, number, jnp.asarray(scores), place, one) for one in keys]
    return np.mean([np.asarray(part, float) for part in parts], axis=0)


def run(seed: int) -> list[dict]:
    """Return ratio and error of every form, number of draws and positive."""
    rng, rows = np.random.default_rng(seed), []
    drawn = rng.normal(0, 2, ITEMS)
    for share, (name, place) in itertools.product((0.5, 0.9), PLACES.items()):
        scores = drawn.copy()
        others = np.delete(scores, place)
        scores[place] = np.log(share / (1 - share)) + np.logaddexp.reduce(others)
        full = np.exp(scores - np.logaddexp.reduce(scores))
        full[place] -= 1
        for form, number in itertools.product(FORMS, COUNTS):
            got = mean_gradient(form, number, scores, place, seed)
            size = np.linalg.norm(full)
            rows.append(
                {
                    **{"form": form, "draws": number, "positive": name, "share": share},
                    **{"seed": seed, "ratio": np.linalg.norm(got) / size},
                    "error": np.linalg.norm(got - full) / size,
                }
            )
    return rows


def markdown(rows: pl.DataFrame, number: int) -> str:
    """Return ratio and error, with intervals over seeds, at a number of draws."""
    cases = rows.select("share", "positive").unique(maintain_order=True).rows()
    heads = [f"P = {share:g}, {positive}" for share, positive in cases]
    lines = [f"| correction | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for form in FORMS:
        cells = []
        for share, positive in cases:
            one = rows.filter(
                (pl.col("form") == form) & (pl.col("draws") == number),
                (pl.col("share") == share) & (pl.col("positive") == positive),
            )
            words = []
            for name in ("ratio", "error"):
                mean, low, high = interval(one[name].to_list())
                words.append(f"{mean:.2f} ± {(high - low) / 2:.2f}")
            cells.append(" / ".join(words))
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all seeds, and write the results and the tables."""
    rows = pl.DataFrame([row for seed in range(SEEDS) for row in run(seed)])
    rows.write_csv(HERE / "results.csv")
    for number in COUNTS:
        insert(HERE / "README.md", f"khrylchenko.{number}", markdown(rows, number))


if __name__ == "__main__":
    main()
