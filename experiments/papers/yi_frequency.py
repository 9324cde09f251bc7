"""Errors of the streaming frequency over the simulated stream of Yi et al. 2019.

    python experiments/papers/yi_frequency.py

writes results.csv (figure, series, step, seed, error), the two figures, and the tables
between the marks of README.md, all in the folder yi_frequency.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from cells import insert, interval
from matplotlib.figure import Figure

from twotower_jax.negatives import frequency

HERE = Path(__file__).parent / "yi_frequency"
# Item i is drawn in proportion to i^2, after SWITCH steps in the reversed order; the
# items of a batch differ.
ITEMS, BATCH, SWITCH, STEPS = 1_000, 128, 10_000, 20_000
Q = np.arange(ITEMS) ** 2 / np.sum(np.arange(ITEMS) ** 2.0)
ALPHAS, BUCKETS, GAP = (0.1, 0.01, 0.001), 5_000, 100.0
MEMORIES, HASHES = (1_000, 2_000, 5_000, 20_000), (1, 2, 4)
MOMENTS = (1_000, 2_000, 5_000, 10_000, 10_500, 11_000, 12_000, 15_000, 20_000)
SEEDS = 5
PAPER = -1  # a step before all hits: the gap that is read is B alone, as in the paper


def stream(seed: int) -> np.ndarray:
    """Return the batches of a seed, [STEPS, BATCH] int32.

    The BATCH earliest of exponential times with rates q: q without replacement. Items
    have other names in each seed, so that other ones share a bucket.
    """
    rng = np.random.default_rng(seed)
    names = rng.choice(2**31 - 1, ITEMS, replace=False).astype(np.int32)
    parts = [names]
    for first in range(0, STEPS, 1_000):
        q = Q if first < SWITCH else Q[::-1]
        time = rng.standard_exponential((1_000, ITEMS), np.float32)
        time /= np.maximum(q, 1e-30).astype(np.float32)
        place = np.argpartition(time, BATCH, axis=1)[:, :BATCH]
        parts.append(names[place].ravel())
    return np.concatenate(parts)


@jax.jit
def count(
    state: frequency.Frequency, batches: jax.Array, first: int, end: int, alpha: float
) -> frequency.Frequency:
    """Return the estimator after the batches from first to end."""

    def body(step: jax.Array, state: frequency.Frequency) -> frequency.Frequency:
        return frequency.update(state, batches[step], step, alpha)

    return jax.lax.fori_loop(first, end, body, state)


def errors(
    names: np.ndarray, batches: jax.Array, hashes: int, buckets: int, alpha: float
) -> Iterator[tuple[int, float]]:
    """Yield (step, error) of the estimator; the error is sum_i |p_i - B q_i| / 2 B."""
    state, done = frequency.init_frequency(hashes, buckets, GAP), 0
    for moment in MOMENTS:
        state, done = count(state, batches, done, moment, alpha), moment
        read = np.exp(np.asarray(frequency.log_count(state, jnp.asarray(names), PAPER)))
        target = BATCH * (Q if moment <= SWITCH else Q[::-1])
        yield moment, float(np.abs(read - target).sum() / (2 * BATCH))


def run(seed: int) -> list[dict]:
    """Return the errors of both figures in one stream."""
    drawn, rows = stream(seed), []
    names, batches = drawn[:ITEMS], jnp.asarray(drawn[ITEMS:].reshape(STEPS, BATCH))
    cases = [("rate", f"alpha {a:g}", 1, BUCKETS, a) for a in ALPHAS]
    cases += [
        ("hashes", hash_series(m, total), m, total, 0.01)
        for total, m in itertools.product(MEMORIES, HASHES)
    ]
    for figure, series, hashes, total, alpha in cases:
        for step, error in errors(names, batches, hashes, total // hashes, alpha):
            if figure == "rate" or step == SWITCH:
                names_of = {"figure": figure, "series": series, "step": step}
                rows.append({**names_of, "seed": seed, "error": error})
    return rows


def hash_series(hashes: int, buckets: int) -> str:
    """Return the name of a series: number of hashes, buckets of all of them."""
    return f"{hashes} x {buckets // hashes}"


def gap_bias(alpha: float, start: float, gap: float, step: int) -> tuple[float, ...]:
    """Return the bias of the mean gap after hits: simulated, exact, and as printed."""
    rng = np.random.default_rng(0)
    gaps = rng.geometric(1 / gap, (200_000, step))
    mean = np.full(len(gaps), start)
    for one in gaps.T:
        mean = (1 - alpha) * mean + alpha * one
    exact = (1 - alpha) ** step * (start - gap)
    printed = (1 - alpha) ** step * start - (1 - alpha) ** (step - 1) * gap
    return float(mean.mean()) - gap, exact, printed


def cell(rows: pl.DataFrame, **where: object) -> str:
    """Return mean and 95 % interval over the seeds of some rows."""
    values = rows.filter(*(pl.col(name) == value for name, value in where.items()))
    mean, low, high = interval(values["error"].to_list())
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rate_table(rows: pl.DataFrame) -> str:
    """Return the errors over the steps, a column per learning rate."""
    series = [f"alpha {alpha:g}" for alpha in ALPHAS]
    lines = [
        [f"{step:,}", *(cell(rows, series=name, step=step) for name in series)]
        for step in MOMENTS
    ]
    return markdown(["step", *series], lines)


def hash_table(rows: pl.DataFrame) -> str:
    """Return the errors at the switch, a column per number of hashes."""
    lines = [
        [f"{total:,}", *(cell(rows, series=hash_series(m, total)) for m in HASHES)]
        for total in MEMORIES
    ]
    return markdown(
        ["buckets in all", "1 hash", *(f"{m} hashes" for m in HASHES[1:])], lines
    )


def bias_table() -> str:
    """Return the bias of the mean gap, alpha .1, start 100, true gap 50."""
    lines = [
        [str(step), *(f"{value:.2f}" for value in gap_bias(0.1, GAP, 50.0, step))]
        for step in (1, 5, 20)
    ]
    return markdown(["hits", "simulated", "(1 - a)^t (start - gap)", "printed"], lines)


def draw(rows: pl.DataFrame) -> None:
    """Write figure_rate.svg and figure_hashes.svg."""
    mean = rows.group_by("figure", "series", "step", maintain_order=True).agg(
        pl.col("error").mean()
    )
    rates = {}
    for alpha in ALPHAS:
        one = mean.filter(pl.col("series") == f"alpha {alpha:g}")
        rates[f"alpha {alpha:g}"] = one["step"].to_numpy(), one["error"].to_numpy()
    label = "step; the items change places at 10,000"
    plot(rates, label).savefig(HERE / "figure_rate.svg")
    memory = np.array(MEMORIES)
    hashes = {}
    for m in HASHES:
        every = [mean.filter(pl.col("series") == hash_series(m, t)) for t in MEMORIES]
        hashes[f"{m} hashes"] = memory, np.array([one["error"][0] for one in every])
    label = "buckets of all hashes together"
    plot(hashes, label, log=True).savefig(HERE / "figure_hashes.svg")


def plot(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]], xlabel: str, log: bool = False
) -> Figure:
    """Return a figure of the mean error, a line per series."""
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel="error")
    for name, (x, y) in series.items():
        axes.plot(x, y, marker="o", label=name)
    if log:
        axes.set(xscale="log", yscale="log")
    axes.legend(frameon=False)
    return figure


def main() -> None:
    """Run all seeds; write the results, the tables and the figures."""
    rows = pl.DataFrame([row for seed in range(SEEDS) for row in run(seed)])
    rows.write_csv(HERE / "results.csv")
    readme = HERE / "README.md"
    insert(readme, "yi_frequency.rate", rate_table(rows))
    insert(readme, "yi_frequency.hashes", hash_table(rows))
    insert(readme, "yi_frequency.bias", bias_table())
    draw(rows)


if __name__ == "__main__":
    main()
