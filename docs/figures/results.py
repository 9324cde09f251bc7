"""Tables of the experiments, and the differences of the quickstart as a figure."""

from pathlib import Path

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from figures.style import COLOURS, STYLE, axes

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MAIN = {"quickstart": ("true_recall@20", "recall@20")}
SLICES = ("head", "mid", "tail")
MINUS = "\N{MINUS SIGN}"


def summary(name: str) -> dict[str, dict[str, tuple[float, float | None, int]]]:
    """Return (mean, standard deviation, seeds) by arm and metric."""
    table = pl.read_csv(EXPERIMENTS / name / "results.csv")
    grouped = table.group_by("arm", "metric").agg(
        mean=pl.col("value").mean(), sd=pl.col("value").std(), seeds=pl.len()
    )
    found: dict[str, dict[str, tuple[float, float | None, int]]] = {}
    for row in grouped.iter_rows(named=True):
        cell = (row["mean"], row["sd"], row["seeds"])
        found.setdefault(row["arm"], {})[row["metric"]] = cell
    return found


def differences(name: str, metric: str) -> dict[str, dict]:
    """Return the rows of comparison.csv for a metric, by arm."""
    path = EXPERIMENTS / name / "comparison.csv"
    if not path.exists():
        return {}
    table = pl.read_csv(path).filter(pl.col("metric") == metric)
    return {row["arm"]: row for row in table.iter_rows(named=True)}


def signed(value: float) -> str:
    """Return a number with its sign."""
    return f"{value:+.4f}".replace("-", MINUS)


def table(name: str) -> str:
    """Return the arms of an experiment, the best first."""
    arms = summary(name)
    shown = MAIN.get(name, ("recall@20",))
    metrics = [*shown, *(f"{shown[0]}/{part}" for part in SLICES), "coverage@20"]
    compared = differences(name, metrics[0])
    heading = ["arm", "seeds", *shown, *SLICES, "coverage"]
    if compared:
        heading += ["difference", "verdict"]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)]]
    for arm in sorted(arms, key=lambda arm: -arms[arm][metrics[0]][0]):
        cells = arms[arm]
        row = [arm, str(cells[metrics[0]][2])]
        row += [_cell(*cells[metric][:2]) for metric in metrics]
        if compared:
            row += _difference(compared.get(arm))
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def _difference(row: dict | None) -> list[str]:
    if row is None:
        return ["base", ""]
    low, high = signed(row["low"]), signed(row["high"])
    return [f"{signed(row['difference'])} ({low} to {high})", row["verdict"]]


def draw() -> Figure:
    """Return the quickstart's differences to its base arm, with intervals."""
    metric = MAIN["quickstart"][0]
    rows = sorted(
        differences("quickstart", metric).values(), key=lambda row: row["difference"]
    )
    one = axes(f"difference in {metric}", "")
    with mpl.rc_context(STYLE):
        for place, row in enumerate(rows):
            one.plot([row["low"], row["high"]], [place] * 2, color=COLOURS[0], lw=4)
            one.plot(row["difference"], place, "o", color=COLOURS[1])
        one.axvline(0, color=COLOURS[-1], lw=1)
        one.set_yticks(range(len(rows)), [row["arm"] for row in rows])
        one.tick_params(axis="both", labelsize=9)
    return one.figure


def values() -> dict[str, str]:
    """Return one table per experiment that has results."""
    names = (path.parent.name for path in EXPERIMENTS.glob("*/results.csv"))
    return {name: table(name) for name in sorted(names)}
