"""Put the results of a sweep into its experiment's folder.

    python experiments/collect.py quickstart outputs/quickstart

Writes results.csv (arm, seed, metric, value of the shown metrics on test),
comparison.csv (differences to the base arm), the figures, and the table between the
marks of experiments/NAME/README.md and, if it has such marks, of README.md.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.study.arms import summary
from twotower_jax.study.load import Study, load_study
from twotower_jax.study.tables import heading, rank_arms

HERE = Path(__file__).parent


def markdown(study: Study) -> str:
    """The arms as a Markdown table, mean and standard deviation over seeds.

    Args:
      study: the result of `load_study`.

    Returns:
      Markdown text.
    """
    shown = study.shown
    lines = [
        f"| arm | seeds | {' | '.join(map(heading, shown))} | seconds |",
        "|---|" + "---|" * (len(shown) + 2),
    ]
    cells = {
        (row["arm"], row["metric"]): row
        for row in summary(study.table, [*shown, "seconds"]).iter_rows(named=True)
    }
    for arm in rank_arms(study.table, study.metric):
        seeds = cells[arm, study.metric]["seeds"]
        values = [_cell(cells[arm, name], 4) for name in shown]
        seconds = _cell(cells[arm, "seconds"], 0)
        lines.append(f"| {arm} | {seeds} | {' | '.join(values)} | {seconds} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any], digits: int) -> str:
    if row["sd"] is None:
        return f"{row['mean']:.{digits}f}"
    return f"{row['mean']:.{digits}f} ± {row['sd']:.{digits}f}"


def insert(path: Path, name: str, text: str) -> None:
    """Replace the text between the marks of a name in a file, if it has them.

    Args:
      path: a Markdown file, which may be missing.
      name: the name in the marks.
      text: the new text.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if not path.exists() or begin not in path.read_text(encoding="utf-8"):
        return
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Collect the results of one experiment."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    study, place = load_study([folder]), HERE / name
    place.mkdir(parents=True, exist_ok=True)
    shown = (pl.col("split") == "test") & pl.col("metric").is_in(study.shown)
    results = study.table.filter(shown).select(
        "arm", "seed", "metric", "value", "seconds", "examples_per_second"
    )
    results.write_csv(place / "results.csv")
    for old in place.glob("figure_*.svg"):
        old.unlink()
    for made in (*folder.glob("figure_*.svg"), *folder.glob("comparison.csv")):
        shutil.copy(made, place / made.name)
    for path in (place / "README.md", HERE.parent / "README.md"):
        insert(path, name, markdown(study))


if __name__ == "__main__":
    main()
