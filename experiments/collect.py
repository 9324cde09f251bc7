"""Put the results of a sweep into its experiment's folder.

    python experiments/collect.py quickstart outputs/quickstart

Writes results.csv (arm, seed, metric, value of the shown metrics on test),
comparison.csv (differences to the base arm), the figures, and the table between the
marks of experiments/NAME/README.md and, where it has them, of README.md.
"""

import shutil
import sys
from pathlib import Path

import polars as pl

from twotower_jax.study.arms import study_table, summary
from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import rank_arms

HERE = Path(__file__).parent
SHOWN = {
    "recall@20": "recall@20",
    "ndcg@20": "ndcg@20",
    "recall@20/head": "head",
    "recall@20/mid": "mid",
    "recall@20/tail": "tail",
    "coverage@20": "coverage@20",
}


def markdown(table: pl.DataFrame) -> str:
    """Return the arms as a table, mean and standard deviation over seeds."""
    lines = [
        f"| arm | seeds | {' | '.join(SHOWN.values())} | seconds |",
        "|---|" + "---|" * (len(SHOWN) + 2),
    ]
    cells = {
        (row["arm"], row["metric"]): row
        for row in summary(table, [*SHOWN, "seconds"]).iter_rows(named=True)
    }
    for arm in rank_arms(table, "recall@20"):
        seeds = cells[arm, "recall@20"]["seeds"]
        values = [_cell(cells[arm, name], 4) for name in SHOWN]
        seconds = _cell(cells[arm, "seconds"], 0)
        lines.append(f"| {arm} | {seeds} | {' | '.join(values)} | {seconds} |")
    return "\n".join(lines)


def _cell(row: dict, digits: int) -> str:
    if row["sd"] is None:
        return f"{row['mean']:.{digits}f}"
    return f"{row['mean']:.{digits}f} ± {row['sd']:.{digits}f}"


def insert(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of ``name`` in a file, if it has them."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in path.read_text(encoding="utf-8"):
        return
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Collect one experiment."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    table = study_table(read_runs(folder))
    place = HERE / name
    shown = (pl.col("split") == "test") & pl.col("metric").is_in(list(SHOWN))
    results = table.filter(shown).select(
        "arm", "seed", "metric", "value", "seconds", "examples_per_second"
    )
    results.write_csv(place / "results.csv")
    for made in (*folder.glob("figure_*.svg"), *folder.glob("comparison.csv")):
        shutil.copy(made, place / made.name)
    for path in (place / "README.md", HERE.parent / "README.md"):
        insert(path, name, markdown(table))


if __name__ == "__main__":
    main()
