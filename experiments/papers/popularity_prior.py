"""Add a multiple of the log of the clicks to the scores of finished runs of towers.

    python experiments/papers/popularity_prior.py NAME outputs/NAME ARM [ARM ...]

For each run of these arms: the scores cos(u, j) + w log(1 + n_j), n_j the training clicks
of item j, with the w of WEIGHTS that has the best recall@20 on the valid part. This is
the control for a loss that ranks popular items higher: w changes nothing else. Writes
popularity_prior.csv (arm, seed, weight, metric, value) into experiments/papers/NAME, and
the table between the marks <!-- NAME.prior --> of its README.md.
"""

import sys
from pathlib import Path
from typing import Any

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

HERE = Path(__file__).parent
WATCHED = "recall@20"
METRICS = ("recall@20", "ndcg@20", "recall@20/head", "recall@20/mid", "recall@20/tail")
WEIGHTS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)  # of a cosine, per nat


def runs(folder: Path, arms: list[str]) -> list[tuple[Path, Config]]:
    """Return the finished runs of some arms in the folder of a study."""
    found = [path.parent for path in sorted(folder.glob("*/result.json"))]
    configs = [(path, stored_config(path)) for path in found]
    return [
        one for one in configs if one[1].arm in arms and RunFolder(one[0]).is_done()
    ]


def with_prior(path: Path, config: Config) -> list[dict[str, Any]]:
    """Return the test metrics of a run without and with the chosen weight."""
    trained = load_trained(config, path)
    queries = make_query_sets(trained.config, trained.data)
    clicks = np.log1p(trained.data.popularity)

    def metrics(part: str, weight: float) -> dict[str, float]:
        num_items = trained.data.log.num_items
        embedded = embed(trained.model, trained.params, queries[part], num_items)
        offset = jnp.asarray(weight * clicks, jnp.float32)
        scored = embedded.with_offset(offset)
        return rank(trained.config, trained.data, queries[part], scored).metrics()

    chosen = max(WEIGHTS, key=lambda weight: metrics("valid", weight)[WATCHED])
    rows = []
    for form, weight in (("plain", 0.0), ("chosen", chosen)):
        values = metrics("test", weight)
        rows += [
            {
                "arm": config.arm,
                "seed": config.seed,
                "form": form,
                "weight": weight,
                "metric": name,
                "value": values[name],
            }
            for name in METRICS
        ]
    return rows


def table(made: pl.DataFrame) -> str:
    """Return the rows of the arms, without and with the prior, in Markdown."""
    lines = ["| arm | weight | " + " | ".join(METRICS) + " |"]
    lines.append("|---" * (len(METRICS) + 2) + "|")
    for (arm, form), group in made.group_by("arm", "form", maintain_order=True):
        weights = sorted(set(group["weight"]))
        cells = []
        for name in METRICS:
            mean, low, high = interval(group.filter(metric=name)["value"].to_list())
            cells.append(f"{mean:.4f} ({low:.4f} to {high:.4f})")
        label = arm if form == "plain" else f"{arm} + prior"
        shown = ", ".join(f"{weight:g}" for weight in weights)
        lines.append(f"| {label} | {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(name: str, folder: str, *arms: str) -> None:
    """Write popularity_prior.csv and the table."""
    found = runs(Path(folder), list(arms))
    made = pl.DataFrame([row for one in found for row in with_prior(*one)])
    made = made.sort("arm", "form", "seed", "metric", descending=[0, 1, 0, 0])
    made.write_csv(HERE / name / "popularity_prior.csv")
    insert(HERE / name / "README.md", f"{name}.prior", table(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
