"""Tables of the experiments."""

from pathlib import Path

import polars as pl

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TRUTH = ("true_recall@20", "recall@20")
MAIN = {"time": TRUTH}
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


def settled(name: str) -> bool:
    """Return whether each arm's settings were chosen with three seeds or more."""
    path = EXPERIMENTS / name / "select.csv"
    return path.exists() and pl.read_csv(path)["runs"].max() >= 3


def signed(value: float) -> str:
    """Return a number with its sign."""
    return f"{value:+.4f}".replace("-", MINUS)


def markdown(heading: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ranked(name: str) -> tuple[tuple[str, ...], list[tuple[str, dict]]]:
    """Return the main metrics of an experiment, and its arms, the best first."""
    shown = MAIN.get(name, ("recall@20",))
    arms = summary(name)
    order = sorted(arms, key=lambda arm: -arms[arm][shown[0]][0])
    return shown, [(arm, arms[arm]) for arm in order]


def main_table(name: str) -> str:
    """Return the main metrics of every arm, and differences to the base arm."""
    shown, arms = ranked(name)
    compared = differences(name, shown[0])
    heading = ["arm", "seeds", *shown]
    heading += ["difference", "verdict"] if compared else []
    rows = []
    for arm, cells in arms:
        row = [arm, str(cells[shown[0]][2]), *(_cell(*cells[m][:2]) for m in shown)]
        if compared:
            difference, verdict = _difference(compared.get(arm))
            row += [difference, verdict if settled(name) or not verdict else "withheld"]
        rows.append(row)
    return markdown(heading, rows)


def slices_table(name: str) -> str:
    """Return the slices by popularity and the coverage of every arm."""
    shown, arms = ranked(name)
    metrics = [*(f"{shown[0]}/{part}" for part in SLICES), "coverage@20"]
    rows = [
        [arm, *(_cell(*cells[metric][:2]) for metric in metrics)] for arm, cells in arms
    ]
    return markdown(["arm", *SLICES, "coverage@20"], rows)


def _cell(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None else f"{mean:.4f}&nbsp;±&nbsp;{sd:.4f}"


def _difference(row: dict | None) -> list[str]:
    if row is None:
        return ["base", ""]
    low, high = signed(row["low_verdict"]), signed(row["high_verdict"])
    interval = f"({low}&nbsp;to&nbsp;{high})"
    return [f"{signed(row['difference'])} {interval}", row["verdict"]]


def values() -> dict[str, str]:
    """Return two tables per experiment that has results."""
    names = sorted(path.parent.name for path in EXPERIMENTS.glob("*/results.csv"))
    tables = {name: main_table(name) for name in names}
    return tables | {f"{name}-slices": slices_table(name) for name in names}
