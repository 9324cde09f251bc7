"""Serve the mean of the scores of several seeds of an arm: one dot product.

    python experiments/papers/mean_of_seeds.py NAME ARM NUMBER[,NUMBER] FOLDER [...]

The scores of a set of NUMBER runs of ARM are the means of their cosines, which are the
dot products of their unit vectors side by side, of NUMBER times the dimension. These
are then compressed to the dimension of one run, by the singular values of the matrix of
all scores. The runs differ in their seeds alone. Writes mean_of_seeds.csv (study,
split, seeds, dim, metric, value) into experiments/papers/NAME for every single run and
every set in the folders of studies, and the table between the marks <!-- NAME.means -->
of its README.md. Sets share runs: the range of their values is not a confidence
interval.
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


def compressed(whole: Embeddings, dim: int) -> Embeddings:
    """Return embeddings whose dot products are nearest to given ones (least squares).

    The largest singular values of the matrix of all scores, and their vectors.

    Args:
      whole: of more numbers than dim.
      dim: of the result.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> one = Embeddings(rng.normal(size=(9, 2)), rng.normal(size=(7, 2)))
      >>> twice = Embeddings(*(np.concatenate([x, x], axis=1) for x in one))
      >>> made = compressed(twice, 2)
      >>> scores = made.queries @ made.candidates.T
      >>> bool(np.allclose(scores, 2 * one.queries @ one.candidates.T, atol=1e-5))
      True
    """
    left, of_queries = np.linalg.qr(np.asarray(whole.queries, np.float64))
    right, of_items = np.linalg.qr(np.asarray(whole.candidates, np.float64))
    to_left, size, to_right = np.linalg.svd(of_queries @ of_items.T)
    root = np.sqrt(size[:dim])
    queries, items = left @ (to_left[:, :dim] * root), right @ (to_right[:dim].T * root)
    return Embeddings(queries.astype(np.float32), items.astype(np.float32))


def rows(study: str, runs: Sequence[Finished]) -> list[dict[str, object]]:
    """Return the metrics of the mean of the scores of some runs, a row for each."""
    seeds = " ".join(str(run.config.seed) for run in runs)
    dim, found = runs[0].config.towers.dim, []
    for split in SPLITS:
        if split not in runs[0].queries:
            continue
        whole = joined(runs, split)
        served = {whole.queries.shape[1]: whole}
        if len(runs) > 1:
            served[dim] = compressed(whole, dim)
        for size, embedded in served.items():
            made = values(runs[0], split, embedded)
            head = {"study": study, "split": split, "seeds": seeds, "dim": size}
            found += [
                head | {"metric": name, "value": float(np.nanmean(made[name]))}
                for name in METRICS
            ]
    return found


def table(made: pl.DataFrame) -> str:
    """Return the values of single runs and of their means, in Markdown."""
    lines = ["| study | part | scores | " + " | ".join(METRICS) + " |"]
    lines.append("|---" * (len(METRICS) + 3) + "|")
    sizes = made.with_columns(size=pl.col("seeds").str.count_matches(" ") + 1)
    parts = sizes.group_by("study", "split", "size", "dim", maintain_order=True)
    for (study, split, size, dim), group in parts:
        cells = [_cell(group.filter(metric=name)["value"], size) for name in METRICS]
        number = group["seeds"].n_unique()
        label = f"one of {number} runs" if size == 1 else f"mean of {size}"
        label += f", {dim} numbers"
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
