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
from cells import insert, interval

from twotower_jax.config import Config
from twotower_jax.run.evaluate import embed
from twotower_jax.run.queries import make_query_sets
from twotower_jax.run.ranking import rank
from twotower_jax.run.records import RunFolder, stored_config
from twotower_jax.run.reproduce import load_trained
from twotower_jax.study.statistics import compare

HERE = Path(__file__).parent
WATCHED = "recall@20"
METRICS = ("recall@20", "ndcg@20", "recall@20/head", "recall@20/mid", "recall@20/tail")
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


def runs(folder: Path, arms: list[str]) -> list[tuple[Path, Config]]:
    """Return the finished runs of some arms in the folder of a study."""
    found = [path.parent for path in sorted(folder.glob("*/result.json"))]
    configs = [(path, stored_config(path)) for path in found]
    return [
        one for one in configs if one[1].arm in arms and RunFolder(one[0]).is_done()
    ]


def tested(path: Path, config: Config) -> list[Tested]:
    """Return a run without a prior and with that of the best weight on valid."""
    trained = load_trained(config, path)
    queries = make_query_sets(trained.config, trained.data)
    clicks = np.log1p(trained.data.popularity)
    embedded = {
        part: embed(trained.model, trained.params, one, trained.data.log.num_items)
        for part, one in queries.items()
    }

    def values(part: str, weight: float) -> dict[str, np.ndarray]:
        scored = embedded[part].with_offset(jnp.asarray(weight * clicks, jnp.float32))
        ranking = rank(trained.config, trained.data, queries[part], scored)
        return {name: ranking.per_query[name] for name in METRICS}

    best = max(WEIGHTS, key=lambda weight: np.nanmean(values("valid", weight)[WATCHED]))
    forms = ((PLAIN, 0.0), (PRIOR, best))
    return [
        Tested(config.arm, config.seed, form, weight, values("test", weight))
        for form, weight in forms
    ]


def table(made: pl.DataFrame) -> str:
    """Return the rows of the arms, without and with the prior, in Markdown."""
    lines = ["| arm | weight | " + " | ".join(METRICS) + " |"]
    lines.append("|---" * (len(METRICS) + 2) + "|")
    for (arm, form), group in made.group_by("arm", "form", maintain_order=True):
        cells = [
            interval(group.filter(metric=name)["value"].to_list()) for name in METRICS
        ]
        texts = [f"{mean:.4f} ({low:.4f} to {high:.4f})" for mean, low, high in cells]
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
    kept = runs(Path(folder), list(arms))
    if lacking := sorted(set(arms) - {config.arm for _, config in kept}):
        sys.exit(f"{folder} holds no finished run of {', '.join(lacking)}")
    found = [one for run in kept for one in tested(*run)]
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
