"""Evaluation of a run: embeddings of queries and catalogue, exact top-k, metrics."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.evaluation.auc import Contest
from twotower_jax.evaluation.metrics import (
    catalogue_metrics,
    of_scope,
    ranking_metrics,
)
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.evaluation.slices import popularity_buckets, sliced_metrics, summarise
from twotower_jax.model.baselines import BASELINES
from twotower_jax.model.embed import all_candidates, all_queries
from twotower_jax.model.two_tower import Model
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.queries import QuerySet
from twotower_jax.run.simulator_truth import true_metrics
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import log_prob
from twotower_jax.training.draws import ratio_at, row_groups
from twotower_jax.training.loop import Problem


class Ranking(NamedTuple):
    """The evaluation of one split.

    Attributes:
      per_query: by name, the values of a metric [queries] float64.
      catalogue: by name, the metrics of all lists together.
      items: [queries, length] int32 codes, best first, negative where a list is short.
      scores: [queries, length] float32, of the items.
    """

    per_query: dict[str, np.ndarray]
    catalogue: dict[str, float]
    items: np.ndarray
    scores: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Return the means over the queries with a value, and the catalogue metrics."""
        return summarise(self.per_query) | self.catalogue


class Embeddings(NamedTuple):
    """Embeddings whose dot products are the scores.

    Attributes:
      queries: [queries, dim] float32.
      candidates: [items, dim] float32.
    """

    queries: jax.Array
    candidates: jax.Array

    def with_offset(self, offset: jax.Array) -> "Embeddings":
        """Return embeddings whose scores are larger by an offset [items] per item."""
        ones = jnp.ones((len(self.queries), 1), jnp.float32)
        return Embeddings(
            jnp.concatenate([self.queries, ones], axis=1),
            jnp.concatenate([self.candidates, offset[:, None]], axis=1),
        )


def embed(model: Model, params: dict, queries: QuerySet, num_items: int) -> Embeddings:
    """Return the embeddings of the queries and of the catalogue by a model.

    Args:
      model: both towers.
      params: of the model.
      queries: of a split.
      num_items: size of the catalogue.
    """
    return Embeddings(
        all_queries(model, params, queries.entities, queries.queries),
        all_candidates(model, params, queries.entities, num_items),
    )


def baseline_embeddings(config: Config, data: Loaded, number: int) -> Embeddings:
    """Return embeddings of one dimension for a baseline that scores items alone.

    Args:
      config: the run; ``towers.kind`` names the baseline.
      data: the run's data.
      number: number of queries.
    """
    scores = BASELINES[config.towers.kind](data.counts)
    ones = jnp.ones((number, 1), jnp.float32)
    return Embeddings(ones, jnp.asarray(scores[:, None]))


def rank(
    config: Config, data: Loaded, queries: QuerySet, embedded: Embeddings
) -> Ranking:
    """Rank the whole catalogue for every query, and compute all metrics with slices.

    Args:
      config: the run; its cutoffs.
      data: the run's data.
      queries: of a split.
      embedded: of these queries and of the catalogue.
    """
    cutoffs = config.evaluation.k
    scores, items = top_k(*embedded, max(cutoffs), seen=queries.seen)
    buckets = popularity_buckets(data.counts)
    per_query = ranking_metrics(items, queries.positives, cutoffs)
    per_query |= sliced_metrics(items, queries.positives, buckets, cutoffs)
    if queries.truth is not None:
        per_query |= true_metrics(queries.truth, items, buckets, cutoffs)
    for kind, others in queries.rivals.items():
        left, right = (np.asarray(vectors) for vectors in embedded)
        contest = Contest(left, right, queries.positives, others)
        for name, metric in of_scope("rivals").items():
            per_query[f"{name}@{kind}"] = np.asarray(metric.compute(contest))
    catalogue = catalogue_metrics(items, data.counts, cutoffs)
    return Ranking(per_query, catalogue, items, scores)


def rank_split(
    config: Config,
    data: Loaded,
    problem: Problem | None,
    params: dict,
    queries: QuerySet,
) -> Ranking:
    """Rank the catalogue for the queries of a split, by a model or a baseline.

    Args:
      config: the run.
      data: the run's data.
      problem: the training problem, None for a baseline.
      params: of the model.
      queries: of the split.
    """
    if problem is None:
        embedded = baseline_embeddings(config, data, len(queries.user))
        return rank(config, data, queries, embedded)
    embedded = embed(
        problem.program.structure.model, params, queries, data.log.num_items
    )
    if config.evaluation.subtract_log_q:
        batch = config.training.batch_size
        embedded = embedded.with_offset(subtracted_log_q(problem, params, batch))
    return rank(config, data, queries, embedded)


def subtracted_log_q(problem: Problem, params: dict, batch: int) -> jax.Array:
    """Return the offset -T log N_i of the scores: [num_items] float32.

    A logit of training is s / T - log N_i, so scores with the offset order the items as
    the logits do. Serving with it is a mistake, for log N_i corrects the draw of the
    negatives, which serving does not repeat. N_i counts in-batch and easy draws; hard
    draws depend on the query. An item that is never drawn has the smallest N_i.

    Args:
      problem: the training problem.
      params: of the model, for a learned temperature T.
      batch: batch size.
    """
    structure, hyper = problem.program.structure, problem.program.hyper
    ratio = ratio_at(hyper.hard_ratio, jnp.int32(2**30))
    easy = row_groups(structure.negatives, ratio, None).easy
    every = jnp.arange(structure.num_items)
    in_batch = batch - 1 if structure.negatives.in_batch else 0
    count = log_expected_count(
        (hyper.log_q_batch, in_batch), (log_prob(hyper.easy, every), easy[0])
    )
    drawn = jnp.isfinite(count)
    least = jnp.min(jnp.where(drawn, count, jnp.inf))
    log_t = params.get("log_temperature", hyper.log_temperature)
    return -jnp.exp(log_t) * jnp.where(drawn, count, least)


def validate(
    cutoffs: Sequence[int],
    num_items: int,
    model: Model,
    queries: QuerySet,
    params: dict,
) -> dict[str, float]:
    """Return the mean ranking metrics, which are watched during training.

    Args:
      cutoffs: of the metrics.
      num_items: size of the catalogue.
      model: both towers.
      queries: of the validation split.
      params: of the model.
    """
    embedded = embed(model, params, queries, num_items)
    _, items = top_k(*embedded, max(cutoffs), seen=queries.seen)
    return summarise(ranking_metrics(items, queries.positives, cutoffs))


def query_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return a table with one row per query: the user's id in the input, every metric.

    Args:
      data: the run's data.
      queries: of a split.
      ranking: of these queries.
    """
    user = data.log.user_ids[queries.user.tolist()].alias("user")
    return pl.DataFrame(
        [user, *(pl.Series(n, v) for n, v in ranking.per_query.items())]
    )


def topk_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return the lists in long form: user, rank (from 1), item, score.

    Args:
      data: the run's data.
      queries: of a split.
      ranking: of these queries.
    """
    number, length = ranking.items.shape
    kept = ranking.items.reshape(-1) >= 0
    users = np.repeat(queries.user, length)[kept]
    ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), number)[kept]
    return pl.DataFrame(
        {
            "user": data.log.user_ids.gather(users),
            "rank": ranks,
            "item": data.log.item_ids.gather(ranking.items.reshape(-1)[kept]),
            "score": ranking.scores.reshape(-1)[kept],
        }
    )
