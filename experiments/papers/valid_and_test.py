"""Valid and test part of the same runs, side by side: which settings does each prefer?

    python experiments/papers/valid_and_test.py NAME FOLDER [...]

The folders hold runs that were trained on the train part alone and have metrics of both
parts; runs that differ in their seeds are an arm. Writes valid_and_test.csv (arm, seed,
split, metric, value) into experiments/papers/NAME, and the table between the marks
<!-- NAME.parts --> of its README.md: means, and where an arm has two seeds their 95 %
interval of Student's t; the arms in the order of recall@20 on valid.
"""

import sys
from pathlib import Path

import polars as pl
from cells import insert, mean_text

from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import study_table

HERE = Path(__file__).parent
CELLS = [(s, m) for s in ("valid", "test") for m in ("recall@20", "ndcg@20")]


def table(made: pl.DataFrame) -> str:
    """Return the arms in Markdown, the best one on valid first.

    Args:
      made: columns arm, seed, split, metric, value.
    """
    lines = ["| arm | seeds | " + " | ".join(" ".join(one) for one in CELLS) + " |"]
    lines.append("|---" * (len(CELLS) + 2) + "|")
    first = made.filter(split=CELLS[0][0], metric=CELLS[0][1])
    order = first.group_by("arm").agg(pl.col("value").mean(), pl.len())
    for arm, _, seeds in order.sort("value", descending=True).iter_rows():
        values = [
            made.filter(arm=arm, split=split, metric=metric)["value"].to_list()
            for split, metric in CELLS
        ]
        lines.append(
            f"| {arm} | {seeds} | " + " | ".join(map(mean_text, values)) + " |"
        )
    return "\n".join(lines)


def main(name: str, *folders: str) -> None:
    """Write valid_and_test.csv and the table."""
    kept = pl.struct("split", "metric").is_in(
        [{"split": split, "metric": metric} for split, metric in CELLS]
    )
    runs = study_table(read_runs(*folders))
    made = runs.filter(kept).select("arm", "seed", "split", "metric", "value")
    made.write_csv(HERE / name / "valid_and_test.csv")
    insert(HERE / name / "README.md", f"{name}.parts", table(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
