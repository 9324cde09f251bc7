"""Put the study of daily updates into this folder.

    python experiments/updates/table.py outputs/updates

Reads runs.csv and the runs that it names. Writes days.csv (a row per arm, day, seed
and metric), differences.csv (mean differences over the days to "never" and between
arms), choices.csv (the points that were tried), the figure, and the table of README.md.
"""

import json
import shutil
import sys
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from scipy import stats

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from collect import insert  # noqa: E402

matplotlib.use("svg")
from matplotlib import pyplot as plt  # noqa: E402

METRICS = ("true_recall@20", "recall@20", "coverage@20")
ARMS = {
    "never": "#999999",
    "anew": "#000000",
    "full": "#0072B2",
    "incremental": "#D55E00",
    "full + incremental": "#009E73",
    "full softmax": "#56B4E9",
    "EASE": "#E69F00",
    "iALS": "#CC79A7",
    "item-kNN": "#F0E442",
    "popularity": "#CCCCCC",
}
# Arm, and the arm that it is compared with.
PAIRS = (
    *((arm, "never") for arm in ARMS if arm != "never"),
    ("full", "anew"),
    ("full softmax", "anew"),
    ("EASE", "anew"),
    ("incremental", "full"),
    ("full + incremental", "full"),
)


def results_of(folder: Path) -> pl.DataFrame:
    """Test metrics of the runs.

    Args:
      folder: with runs.csv.

    Returns:
      Columns arm, day, seed, metric, value and steps.
    """
    rows = []
    for run in pl.read_csv(folder / "runs.csv").iter_rows(named=True):
        path = Path(run.pop("folder")) / "result.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        steps = {"steps": result.get("steps")}  # none of a baseline
        for name in METRICS:
            value = result["metrics"]["test"][name]
            rows.append(run | {"metric": name, "value": value} | steps)
    return pl.DataFrame(rows).filter(pl.col("arm") != "first")


def compare(results: pl.DataFrame) -> pl.DataFrame:
    """Mean differences between arms, with t intervals over the seeds.

    Args:
      results: see `results_of`.

    Returns:
      A row per pair of arms and metric: mean, base_mean, difference, low, high (95 %).
    """
    days = pl.mean("value")
    means = results.group_by("arm", "seed", "metric").agg(days).sort("seed")
    rows = []
    for arm, base in PAIRS:
        for name in METRICS:
            mine, other = (
                means.filter(arm=one, metric=name)["value"].to_numpy()
                for one in (arm, base)
            )
            spread = stats.sem(mine - other) * stats.t.isf(0.025, len(mine) - 1)
            centre = float(np.mean(mine - other))
            row = {"arm": arm, "base": base, "metric": name, "seeds": len(mine)}
            row |= {"mean": float(mine.mean()), "base_mean": float(other.mean())}
            ends = {"low": centre - spread, "high": centre + spread}
            rows.append(row | {"difference": centre} | ends)
    return pl.DataFrame(rows)


def markdown(results: pl.DataFrame, comparison: pl.DataFrame) -> str:
    """Arms with their means and differences.

    Args:
      results: see `results_of`.
      comparison: see `compare`.

    Returns:
      A table in Markdown.
    """
    lines = [
        "| arm | true_recall@20 | recall@20 | coverage@20 | true_recall@20 less never "
        "(95 % interval) | less full (95 % interval) | steps per day |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        mine = results.filter(arm=arm)
        means = [mine.filter(metric=name)["value"].mean() for name in METRICS]
        cells = [f"{mean:.4f}" for mean in means]
        for base in ("never", "full"):
            found = comparison.filter(arm=arm, base=base, metric=METRICS[0])
            cells.append(_difference(found))
        steps = mine["steps"].drop_nulls().mean()
        cells.append("" if steps is None else f"{steps:.0f}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(found: pl.DataFrame) -> str:
    if not len(found):
        return ""
    row = found.row(0, named=True)
    return f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"


def draw(results: pl.DataFrame, path: Path) -> None:
    """Draw the true recall of each arm by day: mean and range of the seeds.

    Args:
      results: see `results_of`.
      path: of the figure.
    """
    matplotlib.rcParams |= {"svg.hashsalt": "updates", "svg.fonttype": "none"}
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    shown = results.filter(metric=METRICS[0])
    for arm, colour in ARMS.items():
        days = (
            shown.filter(arm=arm)
            .group_by("day")
            .agg(mean=pl.mean("value"), low=pl.min("value"), high=pl.max("value"))
        )
        days = days.sort("day")
        axes.plot(days["day"], days["mean"], color=colour, marker="o", label=arm)
        axes.fill_between(
            days["day"], days["low"], days["high"], color=colour, alpha=0.15
        )
    axes.set(xlabel="day of the test", ylabel=METRICS[0])
    axes.set_xticks(shown["day"].unique().sort().to_list())
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read the folder that the command line names."""
    results = results_of(Path(sys.argv[1]))
    comparison = compare(results)
    results.write_csv(HERE / "days.csv", float_precision=6)
    comparison.write_csv(HERE / "differences.csv", float_precision=6)
    shutil.copyfile(Path(sys.argv[1]) / "choices.csv", HERE / "choices.csv")
    draw(results, HERE / "figure_days.svg")
    insert(HERE / "README.md", "updates", markdown(results, comparison))


if __name__ == "__main__":
    main()
