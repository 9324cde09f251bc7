"""Add a multiple of the log of the clicks to the scores of finished runs of towers.

    python experiments/papers/popularity_prior.py NAME outputs/NAME BASE ARM [ARM ...]

For each run of these arms: the scores cos(u, j) + w log(1 + n_j), n_j the training
clicks of item j, with the w of WEIGHTS that has the best recall@20 on the valid part.
This is the control for a loss that ranks popular items higher: w changes nothing else.
Writes prior.csv (arm, form, seed, weight, metric, value) into experiments/papers/NAME,
and two tables into its README.md: <!-- NAME.prior -->, and <!-- NAME.prior_pairs -->
with the differences of the other arms to BASE with its prior.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import polars as pl
from cells import insert, mean_text
from finished import METRICS, Finished, folders, load, values

from twotower_jax.study.statistics import compare

HERE = Path(__file__).parent
WATCHED = "recall@20"
WEIGHTS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2)  # of a cosine, per nat
PLAIN, PRIOR = "plain", "prior"


class Tested(NamedTuple):
    """A run on the test part, without a prior or with the chosen one.

    Attributes:
      arm, seed: of the run.
      form: PLAIN or PRIOR.
      weight: of the log of the clicks.
      values: [queries] of each metric.
    """

    arm: str
    seed: int
    form: str
    weight: float
    values: dict[str, np.ndarray]


def tested(run: Finished) -> list[Tested]:
    """Return a run without a prior and with that of the best weight on valid."""
    clicks = np.log1p(run.data.popularity)

    def found(split: str, weight: float) -> dict[str, np.ndarray]:
        prior = jnp.asarray(weight * clicks, jnp.float32)
        return values(run, split, run.embedded[split].with_offset(prior))

    best = max(WEIGHTS, key=lambda weight: np.nanmean(found("valid", weight)[WATCHED]))
    arm, seed = run.config.arm, run.config.seed
    return [
        Tested(arm, seed, form, weight, found("test", weight))
        for form, weight in ((PLAIN, 0.0), (PRIOR, best))
    ]


def table(made: pl.DataFrame) -> str:
    """Return the rows of the arms, without and with the prior, in Markdown."""
    lines = ["| arm | weight | " + " | ".join(METRICS) + " |"]
    lines.append("|---" * (len(METRICS) + 2) + "|")
    for (arm, form), group in made.group_by("arm", "form", maintain_order=True):
        texts = [
            mean_text(group.filter(metric=name)["value"].to_list()) for name in METRICS
        ]
        weights = ", ".join(f"{weight:g}" for weight in sorted(set(group["weight"])))
        label = arm if form == PLAIN else f"{arm} + prior"
        lines.append(f"| {label} | {weights} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def pairs(found: list[Tested], base: str) -> str:
    """Return the differences of arms without prior to the base with it, in Markdown."""

    def stacked(arm: str, form: str, metric: str) -> np.ndarray:
        kept = [one for one in found if (one.arm, one.form) == (arm, form)]
        return np.stack([o.values[metric] for o in sorted(kept, key=lambda o: o.seed)])

    lines = [
        "| arm | metric | difference to " + base + " + prior (95 %) |",
        "|---|---|---|",
    ]
    for arm in dict.fromkeys(one.arm for one in found):
        for metric in METRICS[:2]:
            one = compare(stacked(arm, PLAIN, metric), stacked(base, PRIOR, metric))
            low, high = one.interval.low, one.interval.high
            shown = f"{one.difference:+.4f} ({low:+.4f} to {high:+.4f})"
            lines.append(f"| {arm} | {metric} | {shown} |")
    return "\n".join(lines)


def main(name: str, folder: str, *arms: str) -> None:
    """Write prior.csv and both tables."""
    paths = folders(folder, list(arms))
    found = [one for path in paths for one in tested(load(path))]
    found.sort(key=lambda one: (arms.index(one.arm), one.form, one.seed))
    rows: list[dict[str, Any]] = [
        one._asdict()
        | {"metric": metric, "value": float(np.nanmean(one.values[metric]))}
        for one in found
        for metric in METRICS
    ]
    columns = ["arm", "form", "seed", "weight", "metric", "value"]
    made = pl.DataFrame([{k: row[k] for k in columns} for row in rows])
    made.write_csv(HERE / name / "prior.csv")
    insert(HERE / name / "README.md", f"{name}.prior", table(made))
    insert(HERE / name / "README.md", f"{name}.prior_pairs", pairs(found, arms[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
