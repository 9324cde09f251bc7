"""Put the results of a sweep into its experiment's folder.

    python experiments/collect.py quickstart outputs/quickstart
    python experiments/collect.py quickstart outputs/quickstart_full --add

The first form writes results.csv (arm, seed, metric, value of the shown metrics on
test), comparison.csv (differences to the base arm), the figures, and the table between
the marks of experiments/NAME/README.md and, if it has such marks, of README.md. The
second form adds arms to results.csv and to the table, and leaves the rest as it is.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.study.load import Study, load_study
from twotower_jax.study.tables import heading, rank_arms, summary

HERE = Path(__file__).parent
COLUMNS = ("arm", "seed", "metric", "value", "seconds", "examples_per_second")


def markdown(table: pl.DataFrame, shown: Sequence[str], metric: str) -> str:
    """The arms as a Markdown table, mean and standard deviation over seeds.

    Args:
      table: rows of `results`.
      shown: metrics, in the order of the columns.
      metric: by which the arms are ordered.

    Returns:
      Markdown text.
    """
    lines = [
        f"| arm | seeds | {' | '.join(map(heading, shown))} | seconds |",
        "|---|" + "---|" * (len(shown) + 2),
    ]
    cells = {
        (row["arm"], row["metric"]): row
        for row in summary(table, [*shown, "seconds"]).iter_rows(named=True)
    }
    for arm in rank_arms(table, metric):
        seeds = cells[arm, metric]["seeds"]
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


def results(study: Study) -> pl.DataFrame:
    """The shown metrics on test, a row per arm, seed and metric.

    Args:
      study: the result of `load_study`.
    """
    shown = (pl.col("split") == "test") & pl.col("metric").is_in(study.shown)
    return study.table.filter(shown).select(COLUMNS)


def main() -> None:
    """Collect the results of one experiment."""
    name, folder, *add = sys.argv[1:]
    study, place = load_study([Path(folder)]), HERE / name
    place.mkdir(parents=True, exist_ok=True)
    table = results(study)
    shown, metric = study.shown, study.metric
    if add == ["--add"]:
        before = pl.read_csv(place / "results.csv", schema_overrides=study.table.schema)
        known = set(before["metric"])
        shown = [name for name in study.shown if name in known]
        before = before.filter(~pl.col("arm").is_in(table["arm"].unique().to_list()))
        table = table.filter(pl.col("metric").is_in(shown))
        table = pl.concat([before, table]).sort("arm", "seed", maintain_order=True)
    else:
        copy_report(Path(folder), place)
    table.write_csv(place / "results.csv")
    table = table.with_columns(
        split=pl.lit("test"),
        run=pl.format("{} {}", "arm", "seed"),
        examples=pl.lit(None, pl.Float64),
    )
    for path in (place / "README.md", HERE.parent / "README.md"):
        insert(path, name, markdown(table, shown, metric))


def copy_report(folder: Path, place: Path) -> None:
    """Replace figures and differences by those of a study.

    Args:
      folder: of the study.
      place: of the experiment.
    """
    for old in place.glob("figure_*.svg"):
        old.unlink()
    for made in (*folder.glob("figure_*.svg"), *folder.glob("comparison.csv")):
        shutil.copy(made, place / made.name)


if __name__ == "__main__":
    main()
