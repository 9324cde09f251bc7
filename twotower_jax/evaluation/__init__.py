"""Quality: exact retrieval over the whole catalogue, and metrics per query."""

from twotower_jax.evaluation.metrics import (
    popularity_buckets,
    ranking_metrics,
    sliced_metrics,
)
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.ranking import (
    Hits,
    average_precision,
    capped_recall,
    hit_rate,
    match_positives,
    mrr,
    ndcg,
    recall,
)
from twotower_jax.evaluation.retrieve import top_k
