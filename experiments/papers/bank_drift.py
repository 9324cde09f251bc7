"""How far the items of a bank have moved since they were put into it.

    python experiments/papers/bank_drift.py cbns outputs/cbns

The drift of Wang et al. (SIGIR 2021, section 3), as the mean distance of a bank's
vectors from those of the same items now, at the validations that all seeds have. Writes
drift.csv (arm, step, seeds, age, drift, cosine; means over seeds) into
experiments/papers/NAME, and the table between the marks <!-- NAME.drift --> of its
README.md.
"""

import sys
from pathlib import Path

import polars as pl
from cells import insert

from twotower_jax.report.curves import read_records
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import read_runs

HERE = Path(__file__).parent
COLUMNS = {"age": "bank age", "drift": "bank drift", "cosine": "bank cosine"}
SHOWN = 5  # validations in the table


def moved(folder: str) -> pl.DataFrame:
    """Return the means over seeds of each arm with a bank, by step.

    Args:
      folder: of the study.
    """
    runs = read_runs(folder).finished
    rows = []
    for arm, run in zip(name_arms([one.config for one in runs]), runs, strict=True):
        for one in read_records(run.path / "metrics.jsonl"):
            if COLUMNS["drift"] in one:
                numbers = {name: one[key] for name, key in COLUMNS.items()}
                rows.append({"arm": arm, "step": one["step"]} | numbers)
    means = pl.DataFrame(rows).group_by("arm", "step")
    table = means.agg(pl.len().alias("seeds"), pl.col(*COLUMNS).mean())
    every = pl.col("seeds") == pl.col("seeds").max().over("arm")
    return table.filter(every).sort("arm", "step")


def markdown(table: pl.DataFrame) -> str:
    """Return an arm a row: distance (cosine) at the first, the last and some steps.

    Args:
      table: of `moved`.
    """
    every = [set(rows["step"]) for _, rows in table.group_by("arm")]
    steps = sorted(set.intersection(*every))
    places = [round(n * (len(steps) - 1) / (SHOWN - 1)) for n in range(SHOWN)]
    kept = [steps[one] for one in dict.fromkeys(places)]
    lines = [f"| arm | mean age, steps | {' | '.join(f'step {one}' for one in kept)} |"]
    lines.append("|---|---|" + "---|" * len(kept))
    for (arm,), rows in table.group_by("arm", maintain_order=True):
        at = {one["step"]: one for one in rows.to_dicts()}
        age = at[kept[-1]]["age"]
        cells = [f"{at[one]['drift']:.3f} ({at[one]['cosine']:.4f})" for one in kept]
        lines.append(f"| {arm} | {age:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(name: str, folder: str) -> None:
    """Write the drift of a study's banks."""
    table = moved(folder)
    table.write_csv(HERE / name / "drift.csv")
    insert(HERE / name / "README.md", f"{name}.drift", markdown(table))


if __name__ == "__main__":
    main(*sys.argv[1:])
