"""How good: exact retrieval over the whole catalogue, and metrics by query."""

from twotower_jax.evaluation.metrics import METRICS as METRICS
from twotower_jax.evaluation.metrics import catalogue_metrics as catalogue_metrics
from twotower_jax.evaluation.metrics import ranking_metrics as ranking_metrics
from twotower_jax.evaluation.ragged import Ragged as Ragged
from twotower_jax.evaluation.ragged import from_pairs as from_pairs
from twotower_jax.evaluation.retrieve import top_k as top_k
from twotower_jax.evaluation.slices import mean as mean
from twotower_jax.evaluation.slices import popularity_buckets as popularity_buckets
from twotower_jax.evaluation.slices import sliced_metrics as sliced_metrics
from twotower_jax.evaluation.slices import summarise as summarise
