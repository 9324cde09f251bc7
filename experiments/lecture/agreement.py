"""Rank agreement of the log's verdict, of debiased ones, and of the truth, over arms.

    python experiments/lecture/agreement.py outputs/lecture

Reads the runs of lecture/tuned in the default world and in the others. Writes
agreement.csv and figure_agreement.svg, and replaces the table of README.md. A place
keeps its earlier rows if the folder lacks its runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from checks import CLAIMS
from matrix import BY_TRUTH
from places import LOG, PLACES
from tables import HERE, insert, save
from verdicts import runs_of

from twotower_jax.study.naming import identity
from twotower_jax.study.runs import Run

matplotlib.use("svg")
from matplotlib import pyplot as plt

TRUTH, WEIGHTED, RANDOM = "true_recall@20", "ips_recall@20", "uniform_recall@20"
# Two orders of the arms, by their heads in the table.
PAIRS = {
    "log and truth": (LOG, TRUTH),
    "weighted log and truth": (WEIGHTED, TRUTH),
    "random exposures and truth": (RANDOM, TRUTH),
    "log and weighted log": (LOG, WEIGHTED),
}
GAIN = "gain of the weights"  # tau of the second pair minus that of the first
WORLDS = [name for name in BY_TRUTH if PLACES[name].claims == tuple(CLAIMS)]
ENOUGH = 20  # arms; with fewer the interval covers most of -1 to 1
DRAWS = 2_000
FIGURE = "![Agreement with intervals in every place](figure_agreement.svg)"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def main() -> None:
    """Measure the agreement in every place of a folder of studies."""
    folder = Path(sys.argv[1])
    found = {name: runs_of(folder, PLACES[name].studies) for name in WORLDS}
    tables = [agreement(name, means(runs)) for name, runs in found.items() if runs]
    if not tables:
        raise SystemExit(f"{folder} holds no run of lecture/tuned; run run.py first")
    path, table = HERE / "agreement.csv", pl.concat(tables)
    if path.exists():
        earlier = pl.read_csv(path, schema_overrides=table.schema)
        table = pl.concat([earlier.join(table, on="place", how="anti"), table])
    order = pl.DataFrame({"place": WORLDS, "order": range(len(WORLDS))})
    table = table.join(order, on="place").sort("order", maintain_order=True)
    table = table.drop("order")
    table.write_csv(path)
    insert("agreement", f"{markdown(table)}\n\n{FIGURE}")
    draw(table)


def means(runs: Sequence[Run]) -> pl.DataFrame:
    """Mean test metrics of every arm over its seeds.

    Args:
      runs: the runs of a place.

    Returns:
      A row per arm, a column per metric of PAIRS, null where a run lacks it.
    """
    arms: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        metrics = run.result["metrics"].get("test", {})
        arms.setdefault(identity(run.config), {}).setdefault(run.seed, metrics)
    names = [LOG, TRUTH, WEIGHTED, RANDOM]
    rows = []
    for seeds in arms.values():
        values = {name: [one.get(name) for one in seeds.values()] for name in names}
        rows.append(
            {
                name: None if None in numbers else float(np.mean(numbers))
                for name, numbers in values.items()
            }
        )
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64))


def agreement(place: str, arms: pl.DataFrame) -> pl.DataFrame:
    """Kendall's tau-b of every pair in a place, and the gain of the weights.

    The interval is between percentiles of 2,000 bootstrap draws of the arms: it is
    about other arms like these, and it includes the noise of seeds in an arm's mean.
    For 20 to 29 normal arms with tau .2 to .8, it contains tau in 95 to 99 % of
    simulations.

    Args:
      place: its name.
      arms: a row per arm, see `means`.

    Returns:
      A row per pair: place, between, arms, tau, low, high; the last three are null
      with fewer than ENOUGH arms.
    """
    rows = []
    for name, pair in (PAIRS | {GAIN: (LOG, WEIGHTED, TRUTH)}).items():
        values = arms.select(pair).drop_nulls().to_numpy().T
        number = values.shape[1]
        taus = None
        if number >= ENOUGH:
            times = resampled(number)
            taus = tau_b(times, values[-2], values[-1])
            if name == GAIN:
                taus -= tau_b(times, values[0], values[-1])
        rows.append((place, name, number, *interval(taus)))
    return pl.DataFrame(
        rows,
        schema={
            **{"place": pl.String, "between": pl.String, "arms": pl.Int64},
            **dict.fromkeys(("tau", "low", "high"), pl.Float64),
        },
        orient="row",
    )


def resampled(arms: int) -> np.ndarray:
    """Times that each arm is drawn.

    Args:
      arms: their number.

    Returns:
      [1 + DRAWS, arms] float64; the first row is 1: the arms themselves.
    """
    equal = np.full(arms, 1 / arms)
    times = np.random.default_rng(0).multinomial(arms, equal, DRAWS)
    return np.concatenate([np.ones((1, arms)), times])


def tau_b(times: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b between two orders of the arms.

      (concordant pairs - discordant pairs) / sqrt(pairs untied in the first * in the
      second)

    Args:
      times: [draws, arms] times that each arm counts.
      first: [arms] float values.
      second: [arms] float values.

    Returns:
      [draws] float64 in [-1, 1].
    """
    signs = [np.sign(one[:, None] - one[None, :]) for one in (first, second)]
    both, one, other = (
        np.einsum("di,ij,dj->d", times, matrix, times, optimize=True)
        for matrix in (signs[0] * signs[1], *map(np.abs, signs))
    )
    return both / np.sqrt(one * other)


def interval(taus: np.ndarray | None) -> tuple[float | None, ...]:
    """The value of the arms themselves, and the ends of its 95 % interval.

    Args:
      taus: [1 + DRAWS] float64, the arms themselves first; None where there are too
        few.

    Returns:
      The value, the low end, the high end.
    """
    if taus is None:
        return None, None, None
    low, high = np.quantile(taus[1:], [0.025, 0.975])
    return float(taus[0]), float(low), float(high)


def markdown(table: pl.DataFrame) -> str:
    """The agreement as a Markdown table, a row per place.

    Args:
      table: the rows of agreement.csv.

    Returns:
      Markdown text.
    """
    heads = [*PAIRS, GAIN]
    lines = [
        f"| place | arms | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
    ]
    for rows in table.partition_by("place", maintain_order=True):
        place, arms = rows["place"][0], rows["arms"][0]
        cells = {row["between"]: cell(row) for row in rows.iter_rows(named=True)}
        values = " | ".join(cells[head] for head in heads)
        lines.append(f"| {place.replace('_', ' ')} | {arms} | {values} |")
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """One tau with its interval.

    Args:
      row: a row of agreement.csv.

    Returns:
      Markdown text; the number of arms where there are too few.
    """
    if row["tau"] is None:
        return f"too few arms ({row['arms']})"
    sign = "+" if row["between"] == GAIN else ""
    tau, low, high = (
        f"{row[key]:{sign}.2f}".replace("0.", ".", 1) for key in ("tau", "low", "high")
    )
    return f"{tau} ({low} to {high})"


def draw(table: pl.DataFrame) -> None:
    """Draw the taus with their intervals in every place.

    Args:
      table: the rows of agreement.csv.
    """
    places = table["place"].unique(maintain_order=True).to_list()
    figure, axis = plt.subplots(
        figsize=(8, 0.6 * len(places) + 1.3), layout="constrained"
    )
    for index, (name, colour) in enumerate(zip(PAIRS, COLOURS, strict=True)):
        mine = table.filter(pl.col("between") == name).drop_nulls()
        height = [-places.index(place) + 0.27 - 0.18 * index for place in mine["place"]]
        axis.hlines(height, mine["low"], mine["high"], color=colour, lw=2)
        axis.plot(mine["tau"], height, "o", color=colour, ms=5, label=name)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks([-i for i in range(len(places))], places)
    axis.set_ylim(-len(places) + 0.4, 0.6)
    axis.tick_params(labelsize=8)
    axis.set_xlabel(
        "Kendall's tau between two orders of the arms, with 95 % interval", fontsize=9
    )
    figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    save(figure, "agreement")


if __name__ == "__main__":
    main()
