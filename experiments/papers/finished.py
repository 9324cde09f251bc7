"""Finished runs of towers of a study, and the embeddings of their queries and items."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower_jax.config import Config
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.run.evaluate import embed, load_trained
from twotower_jax.run.folder import RunFolder, stored_config
from twotower_jax.run.loader import Loaded
from twotower_jax.run.rank import QuerySet, make_query_sets, rank

METRICS = ("recall@20", "ndcg@20", "recall@20/head", "recall@20/mid", "recall@20/tail")


class Finished(NamedTuple):
    """A finished run of towers.

    Attributes:
      config: of the run.
      data: that it was trained on.
      queries: by split.
      embedded: embeddings by split.
    """

    config: Config
    data: Loaded
    queries: dict[str, QuerySet]
    embedded: dict[str, Embeddings]


def folders(study: str, arms: list[str]) -> list[Path]:
    """Return the folders of the finished runs of some arms; exit where one has none."""
    found: dict[str, list[Path]] = {arm: [] for arm in arms}
    for path in sorted(Path(study).glob("*/result.json")):
        arm = stored_config(path.parent).arm
        if arm in found and RunFolder(path.parent).is_done():
            found[arm].append(path.parent)
    if lacking := [arm for arm, kept in found.items() if not kept]:
        sys.exit(f"{study} holds no finished run of {', '.join(lacking)}")
    return [path for kept in found.values() for path in kept]


def load(path: Path) -> Finished:
    """Return the run in a folder."""
    trained = load_trained(stored_config(path), path)
    queries = make_query_sets(trained.config, trained.data)
    embedded = {
        split: embed(trained.model, trained.params, one, trained.data.log.num_items)
        for split, one in queries.items()
    }
    return Finished(trained.config, trained.data, queries, embedded)


def values(run: Finished, split: str, embedded: Embeddings) -> dict[str, np.ndarray]:
    """Return the metrics [queries] of embeddings for the queries of a run's split."""
    ranking = rank(run.config, run.data, run.queries[split], embedded)
    return {name: ranking.per_query[name] for name in METRICS}
