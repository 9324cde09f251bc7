"""Evaluation of a model: embeddings of queries and catalogue, exact top-k, metrics."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from twotower_jax.config import Config
from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.slices import summarise
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.embed import all_candidates, all_queries
from twotower_jax.model.specs import Model
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.queries import QuerySet
from twotower_jax.run.ranking import Ranking, rank
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import log_prob
from twotower_jax.training.draws import ratio_at, row_groups
from twotower_jax.training.problem import Problem


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
        spread_items(
            all_candidates(model, params, queries.entities, num_items), num_items
        ),
    )


def rank_split(
    config: Config,
    data: Loaded,
    problem: Problem,
    params: dict,
    queries: QuerySet,
) -> Ranking:
    """Rank the catalogue for the queries of a split by a model.

    Args:
      config: the run.
      data: the run's data.
      problem: the training problem.
      params: of the model.
      queries: of the split.
    """
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
    _, items = embedded.top_k(max(cutoffs), queries.seen)
    return summarise(
        ranking_metrics(items, queries.positives, cutoffs, weights=queries.weights)
    )
