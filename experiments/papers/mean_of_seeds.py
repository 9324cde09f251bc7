"""Serve the mean of the scores of several seeds of an arm: one dot product.

    python experiments/papers/mean_of_seeds.py NAME ARM NUMBER[,NUMBER] FOLDER [...]

The scores of a set of NUMBER runs of ARM are the means of their cosines, which are the
dot products of their unit vectors side by side, of NUMBER times the dimension. The runs
differ in their seeds alone. Writes mean_of_seeds.csv (study, split, seeds, metric,
value) into experiments/papers/NAME for every single run and every set in the folders of
studies, and the table between the marks <!-- NAME.means --> of its README.md. Sets
share runs: the range of their values is not a confidence interval.
"""

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from cells import insert, interval
from finished import METRICS, Finished, folders, load, values

from twotower_jax.evaluation.scorers import Embeddings

HERE = Path(__file__).parent
SPLITS = ("valid", "test")


def joined(runs: Sequence[Finished], split: str) -> Embeddings:
    """Return embeddings whose dot products are the means of those of the runs."""
    parts = [run.embedded[split] for run in runs]
    return Embeddings(
        np.concatenate([np.asarray(one.queries) / len(runs) for one in parts], axis=1),
        np.concatenate([np.asarray(one.candidates) for one in parts], axis=1),
    )


def rows(study: str, runs: Sequence[Finished]) -> list[dict[str, object]]:
    """Return the metrics of the mean of the scores of some runs, a row for each."""
    seeds = " ".join(str(run.config.seed) for run in runs)
    found = []
    for split in SPLITS:
        if split in runs[0].queries:
            made = values(runs[0], split, joined(runs, split))
            found += [
                {"study": study, "split": split, "seeds": seeds, "metric": name}
                | {"value": float(np.nanmean(made[name]))}
                for name in METRICS
            ]
    return found


def table(made: pl.DataFrame) -> str:
    """Return the values of single runs and of their means, in Markdown."""
    lines = ["| study | part | scores | " + " | ".join(METRICS) + " |"]
    lines.append("|---" * (len(METRICS) + 3) + "|")
    sizes = made.with_columns(size=pl.col("seeds").str.count_matches(" ") + 1)
    parts = sizes.group_by("study", "split", "size", maintain_order=True)
    for (study, split, size), group in parts:
        cells = [_cell(group.filter(metric=name)["value"], size) for name in METRICS]
        number = group["seeds"].n_unique()
        label = f"one of {number} runs" if size == 1 else f"mean of {size}"
        lines.append(f"| {study} | {split} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: pl.Series, size: object) -> str:
    """Return the mean, with the interval over runs or the range over sets of runs."""
    mean, low, high = interval(values.to_list())
    if size == 1:
        return f"{mean:.4f} ({low:.4f} to {high:.4f})"
    if len(values) == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f}, {min(values):.4f} to {max(values):.4f}"


def main(name: str, arm: str, numbers: str, *studies: str) -> None:
    """Write mean_of_seeds.csv and its table."""
    sizes = numbers.split(",")
    if not all(size.isdigit() and int(size) > 1 for size in sizes):
        sys.exit(f"NUMBER={numbers} has to be whole numbers of at least 2, such as 3,5")
    found = []
    for study in studies:
        paths = folders(study, [arm])
        if len(paths) < min(map(int, sizes)):
            sys.exit(f"NUMBER={numbers}: {study} has {len(paths)} runs of {arm}")
        runs = sorted((load(path) for path in paths), key=lambda run: run.config.seed)
        for size in (1, *map(int, sizes)):
            sets = combinations(runs, size)
            found += [row for one in sets for row in rows(Path(study).name, one)]
    made = pl.DataFrame(found)
    made.write_csv(HERE / name / "mean_of_seeds.csv")
    insert(HERE / name / "README.md", f"{name}.means", table(made))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
