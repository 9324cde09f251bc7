"""Queries of a split, the ranking of the whole catalogue for them, and its tables."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jax
import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.config import Config
from twotower_jax.data.drafts import draft_of
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.log import Pairs
from twotower_jax.data.repeats import AT_A_TIME, among
from twotower_jax.errors import InputError
from twotower_jax.evaluation import metrics, scorers
from twotower_jax.evaluation.ragged import Ragged, from_pairs, take_rows
from twotower_jax.evaluation.ranking import Contest, inverse_propensities
from twotower_jax.evaluation.rivals import rivals
from twotower_jax.run import loader
from twotower_jax.run.folder import RunFolder
from twotower_jax.run.loader import Loaded
from twotower_jax.run.truth import Truth, make_truth, true_metrics


class UserState(NamedTuple):
    """Users as they are at a split."""

    user: np.ndarray  # [queries] int32 codes
    queries: Queries  # the input of the query tower, on the device
    entities: Entities  # features and histories of both towers, on the device
    seen: Ragged | None  # items left out of the rankings, a row per query


class QuerySet(NamedTuple):
    """The queries of a split, ascending by user code."""

    user: np.ndarray  # the first four are those of `UserState`
    queries: Queries
    entities: Entities
    seen: Ragged | None
    positives: Ragged  # the items to retrieve, a row per query
    weights: np.ndarray  # [items] inverse propensities, mean 1 over the positives
    already_seen: int  # positives left out, for their users clicked them before
    rivals: dict[str, Ragged]  # by name, items that auc@NAME compares positives with
    truth: Truth | None  # the items that the users would click, where known


def make_query_sets(config: Config, data: Loaded) -> dict[str, QuerySet]:
    """Return the queries of "valid" and "test", without a split that has none."""
    tests = config.evaluation.test and config.data.has_test
    names = ("valid", "test") if tests else ("valid",)
    made = {name: make_query_set(config, data, name) for name in names}
    evaluated = "test" if config.evaluation.test else "valid"
    if evaluated in made and made[evaluated] is None:
        if not len(getattr(data.split, evaluated)):
            raise InputError(
                f"evaluation.test={str(tests).lower()} evaluates the {evaluated} part, "
                f"but data.split={config.data.split} leaves none; set "
                f"data.{evaluated}_share above 0"
            )
        raise InputError(
            f"every positive of the {evaluated} split was clicked in training by the "
            "same user; set data.mask_seen=false to retrieve seen items again"
        )
    return {name: queries for name, queries in made.items() if queries is not None}


def make_query_set(config: Config, data: Loaded, name: str) -> QuerySet | None:
    """Return the queries of "valid" or "test", None where the split is empty.

    A positive that is masked, for its user clicked it before, is left out and counted.
    """
    config = loader.choose_features(config, data)
    pairs: Pairs = getattr(data.split, name)
    earlier = data.split.known
    if name == "test":
        earlier = earlier.join(data.split.valid)
    already = 0
    if config.data.mask_seen and len(pairs):
        pairs, already = _unseen(pairs, earlier, data.log.num_items)
    if not len(pairs):
        return None
    user, row = np.unique(pairs.user, return_inverse=True)
    state = _state_of(config, data, user, earlier)
    truth = None
    if name == "test":  # the truth refers to the end of the log
        truth = make_truth(config.data, config.evaluation, data, user, state.seen)
    positives, settings = from_pairs(row, pairs.item, len(user)), config.evaluation
    return QuerySet(
        *state,
        positives=positives,
        weights=inverse_propensities(
            data.popularity, positives, settings.ips_power, settings.ips_clip
        ),
        already_seen=already,
        rivals={
            kind: from_pairs(*rivals(data.log, pairs, earlier, user, kind), len(user))
            for kind in settings.auc
        },
        truth=truth,
    )


def user_state(config: Config, data: Loaded) -> UserState:
    """Return the query of every user as the test split has it."""
    config = loader.choose_features(config, data)
    earlier = data.split.known.join(data.split.valid)
    return _state_of(config, data, np.arange(data.log.num_users), earlier)


def _state_of(
    config: Config, data: Loaded, user: np.ndarray, earlier: Pairs
) -> UserState:
    history, seen = loader.query_history(config, earlier, user, None), None
    if config.data.mask_seen:
        row_of_user = np.full(data.log.num_users, -1)
        row_of_user[user] = np.arange(len(user))
        rows = row_of_user[earlier.user]
        seen = from_pairs(rows[rows >= 0], earlier.item[rows >= 0], len(user))
    entities = loader.make_entities(config, data, history)
    queries = loader.queries_of(config, user, history)
    return UserState(user.astype(np.int32), queries, entities, seen)


def sampled_queries(queries: QuerySet, number: int | None) -> QuerySet:
    """Return a random part of the queries, without rivals and truth; None for all."""
    if number is None or number >= len(queries.user):
        return queries
    # The seed of the run has no part in it: runs are watched on the same queries.
    drawn = keys.generator(0, "eval_queries").choice(len(queries.user), number, False)
    rows = np.sort(drawn)
    return queries._replace(
        user=queries.user[rows],
        positives=take_rows(queries.positives, rows),
        seen=None if queries.seen is None else take_rows(queries.seen, rows),
        queries=jax.tree.map(lambda x: x[rows], queries.queries),
        rivals={},
        truth=None,
    )


def _unseen(pairs: Pairs, earlier: Pairs, num_items: int) -> tuple[Pairs, int]:
    """Return the pairs that are not among the earlier ones, and the number that are."""

    def joined(part: Pairs, rows: slice) -> np.ndarray:
        return part.user[rows].astype(np.int64) * num_items + part.item[rows]

    starts = range(0, len(earlier), AT_A_TIME)
    others = (joined(earlier, slice(i, i + AT_A_TIME)) for i in starts)
    new = ~among(joined(pairs, slice(None)), others)
    columns = pairs.user, pairs.item, pairs.time, pairs.request
    kept: Any = (None if column is None else column[new] for column in columns)
    return Pairs(*kept), int((~new).sum())


# --- the ranking ----------------------------------------------------------------------


class Ranking(NamedTuple):
    """The evaluation of one split."""

    per_query: dict[str, np.ndarray]  # {metric: [queries] float64}
    catalogue: dict[str, float]  # metrics of all lists together
    items: np.ndarray  # [queries, length] codes, best first, negative beyond the end
    scores: np.ndarray  # [queries, length] float32, of the items
    tied: float = 0.0  # share of the lists of towers with one score throughout
    # Of a baseline: queries without a positive that it knows, and the type in which it
    # inverted a matrix: that of EASE depends on the free memory.
    by_popularity: int = 0
    precision: str | None = None

    def metrics(self) -> dict[str, float]:
        """Return the means over the queries with a value, and the catalogue metrics."""
        return metrics.summarise(self.per_query) | self.catalogue


def rank(
    config: Config, data: Loaded, queries: QuerySet, scorer: scorers.Scorer
) -> Ranking:
    """Rank the whole catalogue for every query, and compute all metrics with slices."""
    cutoffs = config.evaluation.k
    scores, items = scorer.top_k(max(cutoffs), queries.seen)
    tied = np.zeros(len(scores), bool)
    if (
        isinstance(scorer, scorers.Embeddings)
        and (tied := scorers.tied_queries(scores)).any()
    ):
        items = scorers.without_order(scorer, items, tied, queries.seen)
    buckets = metrics.popularity_buckets(data.popularity)
    per_query = metrics.ranking_metrics(
        items, queries.positives, cutoffs, weights=queries.weights
    )
    per_query |= metrics.sliced_metrics(items, queries.positives, buckets, cutoffs)
    if queries.truth is not None:
        per_query |= true_metrics(queries.truth, items, buckets, cutoffs)
    for kind, others in queries.rivals.items():
        contest = Contest(scorer.of_pairs, queries.positives, others)
        for name, metric in metrics.of_scope("rivals").items():
            per_query[f"{name}@{kind}"] = np.asarray(metric.compute(contest))
    catalogue = metrics.catalogue_metrics(items, data.popularity, cutoffs)
    share = float(tied.mean()) if len(tied) else 0.0
    return Ranking(per_query, catalogue, items, scores, share)


# --- tables ---------------------------------------------------------------------------


def write_tables(
    record: RunFolder, config: Config, data: Loaded, queries: QuerySet, ranking: Ranking
) -> None:
    """Write the metrics per query, and the lists where they are to be saved."""
    user = data.log.user_ids[queries.user.tolist()].alias("user")
    columns = (pl.Series(name, values) for name, values in ranking.per_query.items())
    record.write_table("queries.parquet", pl.DataFrame([user, *columns]))
    if config.evaluation.save_topk:
        record.write_table("topk.parquet", topk_table(data, queries, ranking))
        write_trec(record.path, data, queries, ranking)


def topk_table(data: Loaded, queries: QuerySet, ranking: Ranking) -> pl.DataFrame:
    """Return the lists in long form: user, rank (from 1), item, score."""
    users, items = data.log.user_ids, data.log.item_ids
    number, length = ranking.items.shape
    ranks = np.tile(np.arange(1, length + 1, dtype=np.int32), number)
    codes = ranking.items.reshape(-1)
    kept = codes >= 0
    return pl.DataFrame(
        {
            "user": users.gather(np.repeat(queries.user, length)[kept]),
            "rank": ranks[kept],
            "item": items.gather(codes[kept]),
            "score": ranking.scores.reshape(-1)[kept],
        }
    )


def write_trec(folder: Path, data: Loaded, queries: QuerySet, ranking: Ranking) -> None:
    """Write the lists and the positives as trec_eval reads them, with encoded ids.

    It orders by the score alone, so equal scores are written a step of float32 apart.
    """
    log, positives = data.log, queries.positives
    encoded = replace(log, user_ids=words(log.user_ids), item_ids=words(log.item_ids))
    data = data._replace(log=encoded)
    spaced = ranking._replace(scores=distinct(ranking.scores))
    lists = topk_table(data, queries, spaced)
    lists = lists.with_columns(q0=pl.lit("Q0"), tag=pl.lit("twotower-jax"))
    lists = lists.select("user", "q0", "item", "rank", "score", "tag")
    judgements = pl.DataFrame(
        {
            "user": encoded.user_ids.gather(queries.user[positives.rows]),
            "iteration": 0,
            "item": encoded.item_ids.gather(positives.items),
            "relevance": 1,
        }
    )
    plain: Any = {"include_header": False, "separator": " ", "quote_style": "never"}
    for name, table in (("topk.trec", lists), ("qrels.trec", judgements)):
        with draft_of(folder / name) as draft:
            table.write_csv(draft, **plain)


def words(ids: pl.Series) -> pl.Series:
    """Return ids as texts, "red%20shoes", white space and ``%`` percent-encoded."""
    text = ids.cast(pl.String)
    if not text.str.contains(r"[\s%]").any():
        return text
    encoded = [re.sub(r"[\s%]", lambda match: quote(match[0]), word) for word in text]
    return pl.Series(text.name, encoded)


def distinct(scores: np.ndarray) -> np.ndarray:
    """Return scores [queries, length], best first, each below the one before."""
    lower = scores.copy()
    for column in range(1, scores.shape[1]):
        before = lower[:, column - 1]
        step = np.nextafter(before, np.float32(-np.inf))
        # Beside 0 the next number is subnormal, which some programs read as 0.
        step = np.minimum(step, before - np.float32(1e-30))
        lower[:, column] = np.minimum(lower[:, column], step)
    return lower
