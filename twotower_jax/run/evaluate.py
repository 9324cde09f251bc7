"""Evaluation of a run: embeddings of queries and catalogue, exact top-k, metrics."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.data.feed import Entities, Queries, make_queries
from twotower_jax.data.log import Pairs
from twotower_jax.evaluation.auc import Contest
from twotower_jax.evaluation.metrics import (
    catalogue_metrics,
    of_scope,
    ranking_metrics,
)
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.evaluation.rivals import rivals
from twotower_jax.evaluation.slices import popularity_buckets, sliced_metrics, summarise
from twotower_jax.model.baselines import BASELINES
from twotower_jax.model.embed import all_candidates, all_queries
from twotower_jax.model.two_tower import Model
from twotower_jax.run.inputs import Loaded, make_entities, query_history, trains
from twotower_jax.run.simulator_truth import Truth, make_truth, true_metrics
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import log_prob
from twotower_jax.training.draws import ratio_at, row_groups
from twotower_jax.training.loop import Problem


class QuerySet(NamedTuple):
    """The queries of a split, ascending by user code.

    Attributes:
      user: [queries] int32.
      positives: the items to find.
      seen: items that are left out of a query's ranking, or None.
      queries, entities: what the query tower reads, on the device.
      already_seen: positives that are left out because the user clicked them before.
      rivals: by name, the items that auc@NAME tells the positives from.
      truth: what the users would click, where the data knows it.
    """

    user: np.ndarray
    positives: Ragged
    seen: Ragged | None
    queries: Queries
    entities: Entities
    already_seen: int
    rivals: dict[str, Ragged]
    truth: Truth | None


class Ranking(NamedTuple):
    """The result for one split: values by query, over the catalogue, and the lists."""

    per_query: dict[str, np.ndarray]
    catalogue: dict[str, float]
    items: np.ndarray
    scores: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Return the means over queries (of those with a value) and the rest."""
        return summarise(self.per_query) | self.catalogue


def make_query_set(config: Config, data: Loaded, name: str) -> QuerySet | None:
    """Return the queries of split ``name`` ("valid", "test"), None where it is empty.

    Items that the user clicked in training (for the test split: in training or
    validation) are masked when ``data.mask_seen``; a positive among them cannot be
    retrieved, so it is left out and counted. The history of a query ends where its
    split begins.
    """
    pairs: Pairs = getattr(data.split, name)
    known = data.split.train
    if name == "test":
        known = _join(known, data.split.valid)
    already = 0
    if config.data.mask_seen and len(pairs):
        pairs, already = _unseen(pairs, known, data.log.num_items)
    if not len(pairs):
        return None
    user, row = np.unique(pairs.user, return_inverse=True)
    seen = None
    if config.data.mask_seen:
        place = np.full(data.log.num_users, -1)
        place[user] = np.arange(len(user))
        rows = place[known.user]
        seen = from_pairs(rows[rows >= 0], known.item[rows >= 0], len(user))
    history = query_history(config, known, user, None)
    against = {
        kind: from_pairs(*rivals(data.log, pairs, user, kind), len(user))
        for kind in config.evaluation.auc
    }
    truth = None
    if name == "test":  # the truth is that of the end of the log
        truth = make_truth(config.data, config.evaluation, data, user, seen)
    return QuerySet(
        user=user.astype(np.int32),
        positives=from_pairs(row, pairs.item, len(user)),
        seen=seen,
        queries=make_queries(user, history),
        entities=make_entities(config, data, history),
        already_seen=already,
        rivals=against,
        truth=truth,
    )


def _join(first: Pairs, second: Pairs) -> Pairs:
    time = None
    if first.time is not None and second.time is not None:
        time = np.concatenate([first.time, second.time])
    return Pairs(
        np.concatenate([first.user, second.user]),
        np.concatenate([first.item, second.item]),
        time,
    )


def _unseen(pairs: Pairs, known: Pairs, num_items: int) -> tuple[Pairs, int]:
    """Return the pairs that are not among the known ones, and how many are."""
    keys = pairs.user.astype(np.int64) * num_items + pairs.item
    new = ~np.isin(keys, known.user.astype(np.int64) * num_items + known.item)
    time = None if pairs.time is None else pairs.time[new]
    request = None if pairs.request is None else pairs.request[new]
    kept = Pairs(pairs.user[new], pairs.item[new], time, request)
    return kept, int((~new).sum())


def embed(
    config: Config, data: Loaded, model: Model | None, params: dict, queries: QuerySet
) -> tuple[jax.Array, jax.Array]:
    """Return embeddings of the queries and of the catalogue, for plain dot products."""
    if not trains(config):
        ones = jnp.ones((len(queries.user), 1), jnp.float32)
        scores = BASELINES[config.towers.kind](data.counts)
        return ones, jnp.asarray(scores[:, None])
    assert model is not None
    return (
        all_queries(model, params, queries.entities, queries.queries),
        all_candidates(model, params, queries.entities, data.log.num_items),
    )


def rank(
    config: Config,
    data: Loaded,
    model: Model | None,
    params: dict,
    queries: QuerySet,
    offset: jax.Array | None = None,
) -> Ranking:
    """Rank the whole catalogue for every query: all metrics, with slices.

    Args:
      config, data, model, params, queries: of the run.
      offset: [items] what is added to the scores of items, or None.
    """
    cutoffs = config.evaluation.k
    embedded = embed(config, data, model, params, queries)
    if offset is not None:
        ones = jnp.ones((len(queries.user), 1), jnp.float32)
        embedded = (
            jnp.concatenate([embedded[0], ones], axis=1),
            jnp.concatenate([embedded[1], offset[:, None]], axis=1),
        )
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
    return Ranking(
        per_query, catalogue_metrics(items, data.counts, cutoffs), items, scores
    )


def subtracted_log_q(problem: Problem, params: dict, batch: int) -> jax.Array:
    """Return the offset of scores [num_items] that serves as if it were training.

    A logit of training is s / T - log N_i, so that serving by s - T log N_i orders
    items as the logits do: wrong, for the correction belongs to how negatives were
    drawn. N_i counts in-batch and easy draws; hard ones depend on the query. An item
    that is never drawn is taken as the one that is drawn least.
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
    log_t = params["dense"].get("log_temperature", hyper.log_temperature)
    return -jnp.exp(log_t) * jnp.where(drawn, count, least)


def validate(
    config: Config, data: Loaded, model: Model, queries: QuerySet, params: dict
) -> dict[str, float]:
    """Return the mean ranking metrics only: what is watched while training."""
    cutoffs = config.evaluation.k
    embedded = embed(config, data, model, params, queries)
    _, items = top_k(*embedded, max(cutoffs), seen=queries.seen)
    return summarise(ranking_metrics(items, queries.positives, cutoffs))


def query_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return one row a query: the user's id as it came, every metric."""
    user = data.log.user_ids[queries.user.tolist()].alias("user")
    return pl.DataFrame(
        [user, *(pl.Series(n, v) for n, v in ranking.per_query.items())]
    )


def topk_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return the lists in long form: user, rank (from 1), item, score."""
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
