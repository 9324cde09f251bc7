"""Rankings of the whole catalogue: metrics and slices."""

from typing import NamedTuple

import numpy as np

from twotower_jax.config import Config
from twotower_jax.evaluation.auc import Contest
from twotower_jax.evaluation.metrics import (
    catalogue_metrics,
    of_scope,
    ranking_metrics,
)
from twotower_jax.evaluation.scorers import Embeddings, Scorer
from twotower_jax.evaluation.slices import popularity_buckets, sliced_metrics, summarise
from twotower_jax.evaluation.ties import tied_queries, without_order
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.queries import QuerySet
from twotower_jax.run.simulator_truth import true_metrics


class Ranking(NamedTuple):
    """The evaluation of one split.

    Attributes:
      per_query: by name, the values of a metric [queries] float64.
      catalogue: by name, the metrics of all lists together.
      items: [queries, length] int32 codes, best first, negative where a list is short.
      scores: [queries, length] float32, of the items.
      tied: share of the queries whose lists of towers have one score throughout.
    """

    per_query: dict[str, np.ndarray]
    catalogue: dict[str, float]
    items: np.ndarray
    scores: np.ndarray
    tied: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Return the means over the queries with a value, and the catalogue metrics."""
        return summarise(self.per_query) | self.catalogue


def rank(config: Config, data: Loaded, queries: QuerySet, scorer: Scorer) -> Ranking:
    """Rank the whole catalogue for every query, and compute all metrics with slices.

    Args:
      config: the run; its cutoffs.
      data: the run's data.
      queries: of a split.
      scorer: scores of the catalogue for these queries.
    """
    cutoffs = config.evaluation.k
    scores, items = scorer.top_k(max(cutoffs), queries.seen)
    tied = np.zeros(len(scores), bool)
    if isinstance(scorer, Embeddings) and (tied := tied_queries(scores)).any():
        items = without_order(scorer, items, tied, queries.seen)
    buckets = popularity_buckets(data.popularity)
    per_query = ranking_metrics(
        items, queries.positives, cutoffs, weights=queries.weights
    )
    per_query |= sliced_metrics(items, queries.positives, buckets, cutoffs)
    if queries.truth is not None:
        per_query |= true_metrics(queries.truth, items, buckets, cutoffs)
    for kind, others in queries.rivals.items():
        contest = Contest(scorer.of_pairs, queries.positives, others)
        for name, metric in of_scope("rivals").items():
            per_query[f"{name}@{kind}"] = np.asarray(metric.compute(contest))
    catalogue = catalogue_metrics(items, data.popularity, cutoffs)
    share = float(tied.mean()) if len(tied) else 0.0
    return Ranking(per_query, catalogue, items, scores, share)
