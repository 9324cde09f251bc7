"""Expected gradients of corrected softmax losses, against the full softmax.

    python experiments/papers/khrylchenko.py

A row has 200 items with scores from N(0, 2^2), a positive whose probability P is set,
and K negatives drawn by Zipf's law, or the other positives of a batch. For each form of
the correction this compares the mean gradient by the scores with that of the full
softmax: the ratio of their lengths, and the length of the difference over that of the
latter. For 1,000 items and uniform or half hard draws it computes the optimum of two
forms, and its distance from log P. It writes results.csv, optimum.csv and the tables
between the marks of README.md, in the folder khrylchenko.
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

from twotower_jax.losses import sampled_softmax

HERE = Path(__file__).parent / "khrylchenko"
ITEMS, DRAWN, CHUNKS, SEEDS = 200, 2_000, 4, 5
LOG_Q = -np.log(np.arange(1, ITEMS + 1)) - np.log(sum(1 / np.arange(1, ITEMS + 1)))
COUNTS = (8, 64, 512)
SOURCES = ("drawn", "in-batch")
PLACES = {"most popular": 0, "least popular": ITEMS - 1}
# Of the optimum: items, those of the hard pool, sets of draws a move, and moves.
CATALOGUE, POOL, BEST, SETS, MOVES = 1_000, 50, 200, 500, 80
OPTIMA, PROPOSALS = ("negatives", "all"), ("uniform", "half hard")
GROUPS = ("items of the pool", "ten best other items", "last 250 items")


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


@partial(jax.jit, static_argnames=("form", "number", "source"))
def gradient(
    form: str,
    number: int,
    source: str,
    scores: jax.Array,
    place: int,
    key: jax.Array,
) -> jax.Array:
    """Return the mean gradient by the scores over DRAWN rows, [ITEMS].

    A row has ``number`` draws from q, or is the first one of a batch of ``number`` rows
    whose other positives are from q: number - 1 draws. Draws that equal the positive
    are left out, and so are other rows' positives that equal it.
    """
    log_q = jnp.asarray(LOG_Q)
    drawn = jax.random.choice(key, ITEMS, (DRAWN, number), p=jnp.exp(log_q))
    count = number
    if source == "in-batch":
        drawn, count = drawn.at[:, 0].set(place), number - 1

    def loss(scores: jax.Array) -> jax.Array:
        kept = drawn != place
        negatives = jnp.where(kept, scores[drawn], -jnp.inf)
        positive = jnp.broadcast_to(scores[place], (DRAWN,))
        of_draws = jnp.where(kept, log_q[drawn], 0.0)
        log_k = jnp.log(jnp.float32(count))
        return FORMS[form](positive, negatives, of_draws, log_k, log_q[place]).mean()

    return jax.grad(loss)(scores)


def mean_gradient(
    form: str, number: int, source: str, scores: np.ndarray, place: int, seed: int
) -> np.ndarray:
    """Return the mean gradient by the scores over all rows, [ITEMS]."""
    keys = jax.random.split(jax.random.key(seed), CHUNKS)
    of_scores = jnp.asarray(scores)
    parts = [gradient(form, number, source, of_scores, place, one) for one in keys]
    return np.mean([np.asarray(part, float) for part in parts], axis=0)


def run(seed: int) -> list[dict]:
    """Return ratio and error of every form, source, number of draws and positive."""
    rng, rows = np.random.default_rng(seed), []
    drawn = rng.normal(0, 2, ITEMS)
    for share, (name, place) in itertools.product((0.5, 0.9), PLACES.items()):
        scores = drawn.copy()
        others = np.delete(scores, place)
        scores[place] = np.log(share / (1 - share)) + np.logaddexp.reduce(others)
        full = np.exp(scores - np.logaddexp.reduce(scores))
        full[place] -= 1
        for source, form, number in itertools.product(SOURCES, FORMS, COUNTS):
            got = mean_gradient(form, number, source, scores, place, seed)
            size = np.linalg.norm(full)
            rows.append(
                {
                    **{"source": source, "form": form, "draws": number},
                    **{"positive": name, "share": share, "seed": seed},
                    "ratio": np.linalg.norm(got) / size,
                    "error": np.linalg.norm(got - full) / size,
                }
            )
    return rows


def forces(
    scores: np.ndarray, share: np.ndarray, counts: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pull and push of the expected loss on each item, [N] and [N].

    A row of positive p has the logits s_p - log M_p and s_d - log N_d of its draws d
    other than p.

    Args:
      scores: [N] s.
      share: [N] probability of each positive.
      counts: [S, N] how often each set of draws has an item.
      expected: [2, N] M and N.
    """
    own, drawn = np.exp(scores) / expected[0], counts * np.exp(scores) / expected[1]
    per_row = share / (own + drawn.sum(axis=1, keepdims=True) - drawn)
    others = per_row.sum(axis=1, keepdims=True) - per_row
    return share - own * per_row.mean(axis=0), (drawn * others).mean(axis=0)


def optimum(
    share: np.ndarray, draws: list[tuple[int, np.ndarray]], form: str, seed: int
) -> np.ndarray:
    """Return the optimum less log P, less its mean over the items, [N].

    From s = log P on, a score moves by (pull - push) / pull, with fresh draws each
    time; the pull has hardly any noise, so that the mean of a move is 0 at the optimum.
    Later moves are shorter, and the last half of the scores is averaged.

    Args:
      share: [N] P.
      draws: numbers of draws, each with the items that they are drawn from.
      form: "all" or "negatives".
      seed: of the draws.
    """
    rng, scores, kept = np.random.default_rng(seed), np.log(share), []
    number = len(share)
    count = sum(n * np.bincount(of, minlength=number) / len(of) for n, of in draws)
    expected = np.stack([count if form == "all" else np.ones(number), count])
    first = number * np.arange(SETS)[:, None]
    for move in range(MOVES):
        ids = [of[rng.integers(0, len(of), (SETS, n))] for n, of in draws]
        places = (first + np.concatenate(ids, axis=1)).ravel()
        counts = np.bincount(places, minlength=number * SETS).reshape(SETS, number)
        pull, push = forces(scores, share, counts, expected)
        step = np.maximum(1 - push / pull, -4)
        scores = scores + step * min(0.5, 4 / max(1, move - MOVES // 4))
        kept.append(scores)
    drift = np.mean(kept[MOVES // 2 :], axis=0) - np.log(share)
    return drift - drift.mean()


def optima(seed: int) -> list[dict]:
    """Return the drift of groups of items, for uniform and half hard draws.

    The hard pool has POOL of the BEST most probable items, the same for all rows.
    """
    rng, rows = np.random.default_rng(seed), []
    scores = np.sort(rng.normal(0, 2, CATALOGUE))[::-1]
    share = np.exp(scores - np.logaddexp.reduce(scores))
    every, pool = np.arange(CATALOGUE), rng.choice(BEST, POOL, replace=False)
    best, last = np.setdiff1d(every, pool)[:10], every[-250:]
    groups = dict(zip(GROUPS, (pool, best, last), strict=True))
    for number, name, form in itertools.product(COUNTS, PROPOSALS, OPTIMA):
        half = number // 2
        draws = [(number, every)]
        if name == "half hard":
            draws = [(half, every), (half, pool)]
        drift = optimum(share, draws, form, seed)
        row = {"draws": number, "proposal": name, "form": form, "seed": seed}
        rows.append(row | {group: drift[of].mean() for group, of in groups.items()})
    return rows


def text(values: pl.Series, sign: str = "") -> str:
    """Return the mean over the seeds, and half the width of its 95 % interval."""
    mean, low, high = interval(values.to_list())
    return f"{mean:{sign}.2f} ± {(high - low) / 2:.2f}"


def markdown(rows: pl.DataFrame, source: str, number: int) -> str:
    """Return ratio and error, with intervals over seeds, at a number of draws."""
    cases = rows.select("share", "positive").unique(maintain_order=True).rows()
    heads = [f"P = {share:g}, {positive}" for share, positive in cases]
    lines = [f"| correction | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for form in FORMS:
        cells = []
        for share, positive in cases:
            one = rows.filter(
                (pl.col("source") == source) & (pl.col("draws") == number),
                (pl.col("share") == share) & (pl.col("positive") == positive),
                pl.col("form") == form,
            )
            cells.append(" / ".join(text(one[name]) for name in ("ratio", "error")))
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def in_batch_tables(rows: pl.DataFrame) -> str:
    """Return a table for each size of the batch."""
    parts = [
        f"Batches of {number} rows:\n\n{markdown(rows, 'in-batch', number)}"
        for number in COUNTS
    ]
    return "\n\n".join(parts)


def optimum_table(rows: pl.DataFrame) -> str:
    """Return the drifts with intervals over seeds, in nats."""
    lines = [f"| draws | correction | {' | '.join(GROUPS)} |", "|---|---|" + "---|" * 3]
    for number, name, form in itertools.product(COUNTS, PROPOSALS, OPTIMA):
        one = rows.filter(
            (pl.col("draws") == number) & (pl.col("proposal") == name),
            pl.col("form") == form,
        )
        cells = [text(one[group], "+") for group in GROUPS]
        lines.append(f"| {number} {name} | {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(seeds: int = SEEDS) -> None:
    """Run all seeds, and write the results and the tables.

    Args:
      seeds: number of draws of the scores.
    """
    readme = HERE / "README.md"
    rows = pl.DataFrame([row for seed in range(seeds) for row in run(seed)])
    rows.write_csv(HERE / "results.csv")
    for number in COUNTS:
        insert(readme, f"khrylchenko.{number}", markdown(rows, "drawn", number))
    insert(readme, "khrylchenko.in_batch", in_batch_tables(rows))
    drifts = pl.DataFrame([row for seed in range(seeds) for row in optima(seed)])
    drifts.write_csv(HERE / "optimum.csv")
    insert(readme, "khrylchenko.optimum", optimum_table(drifts))


if __name__ == "__main__":
    main()
