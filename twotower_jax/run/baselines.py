"""Baselines of a run: fitted on the rows of its towers, ranked for its queries.

The fits and rankings of a process are kept for its next run, for the runs of a sweep
share most of them.
"""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.evaluation.scorers import BlockScores, Scorer, SharedScores
from twotower_jax.model.baselines import BASELINES, Scores, baselines_for
from twotower_jax.model.click_matrix import Clicks, click_matrix
from twotower_jax.run.inputs import Loaded, train_clicks
from twotower_jax.run.latest import Latest
from twotower_jax.run.queries import QuerySet, make_query_sets
from twotower_jax.run.ranking import Ranking, rank
from twotower_jax.run.records import RunFolder


class BaselineRanking(NamedTuple):
    """The ranking of a split by a baseline.

    Attributes:
      ranking: of the queries.
      by_popularity: number of queries that have the order of popularity, for all of
        their scores are 0: the user has no positive that the baseline knows.
    """

    ranking: Ranking
    by_popularity: int


_fits: Latest[Scores] = Latest(1)  # one EASE model may hold a gigabyte
# Valid and test of a run, and the arms of an advice, whose seeds share them.
_rankings: Latest[BaselineRanking] = Latest(8)
_metrics: Latest[dict[str, float]] = Latest(64)


def rank_baseline(
    config: Config, data: Loaded, kind: str, split: str, queries: QuerySet
) -> BaselineRanking:
    """Rank the catalogue for the queries of a split by a baseline.

    Args:
      config: the run; its section ``baseline``.
      data: the run's data.
      kind: name of the baseline, as ``towers.kind``.
      split: "valid" or "test".
      queries: of the split.
    """

    def make() -> BaselineRanking:
        blank = np.zeros(len(queries.user), bool)
        history = known_clicks(config, data, split)[queries.user]
        scorer = baseline_scorer(config, data, kind, history, blank)
        ranking = rank(config, data, queries, scorer)
        return BaselineRanking(ranking, int(blank.sum()))

    return _rankings.get(_ranking_key(config, data, kind, split), make)


def knows_valid(config: Config) -> bool:
    """Return whether the towers read a query's positives of the valid part on test."""
    return "history" in config.towers.query


def known_clicks(config: Config, data: Loaded, split: str) -> Clicks:
    """Return the positives that a baseline knows of each user: [users, items].

    They are those that the towers know: the positives of training, and on test those
    of the valid part too where the towers read the history of a query.

    Args:
      config: the run.
      data: its data.
      split: "valid" or "test".
    """
    train, valid = data.split.train, data.split.valid
    user, item = train.user, train.item
    if split == "test" and knows_valid(config):
        user = np.concatenate([user, valid.user])
        item = np.concatenate([item, valid.item])
    shape = data.log.num_users, data.log.num_items
    return click_matrix(user, item, shape)


def _fit_key(config: Config, data: Loaded, kind: str) -> tuple[Hashable, ...]:
    """Return the key of a fit: equal keys, equal scores."""
    numbers = getattr(config.baseline, kind, None)
    seed = config.seed if BASELINES[kind].seeded else None
    return data.fingerprint, kind, numbers, seed


def rank_splits(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet]
) -> tuple[dict[str, Ranking], dict[str, Any]]:
    """Return the rankings of a run whose ``towers.kind`` is a baseline, and counts.

    Args:
      config: the run.
      data: its data.
      sets: the queries by split.

    Returns:
      {split: ranking}, and {count: {split: number of queries}}.
    """
    kind = config.towers.kind
    ranked = {
        split: rank_baseline(config, data, kind, split, queries)
        for split, queries in sets.items()
    }
    numbers = {split: one.by_popularity for split, one in ranked.items()}
    rankings = {split: one.ranking for split, one in ranked.items()}
    return rankings, {"queries ranked by popularity": numbers}


def _ranking_key(
    config: Config, data: Loaded, kind: str, split: str
) -> tuple[Hashable, ...]:
    """Return the key of a ranking: equal keys, equal metrics."""
    sections = repr(config.data), repr(config.evaluation)
    return *_fit_key(config, data, kind), split, knows_valid(config), *sections


def fit_baseline(config: Config, data: Loaded, kind: str) -> Scores:
    """Return the scores of a fitted baseline, which is kept for the next call.

    Args:
      config: the run; its section ``baseline`` and its seed.
      data: its data.
      kind: name of the baseline.
    """

    def fit() -> Scores:
        baseline = BASELINES[kind]
        return baseline.fit(train_clicks(data), config.baseline, config.seed)

    return _fits.get(_fit_key(config, data, kind), fit)


def baseline_scorer(
    config: Config, data: Loaded, kind: str, history: Clicks, blank: np.ndarray
) -> Scorer:
    """Return the scores of a baseline, fitted on the run's data.

    Args:
      config: the run.
      data: its data.
      kind: name of the baseline.
      history: [queries, items] positives that it knows of each query.
      blank: [queries] bool, marked where a query has no score of its own when it is
        scored; it then has the scores of popularity.
    """
    scores = fit_baseline(config, data, kind)
    number, num_items = history.shape
    if BASELINES[kind].shared:
        return SharedScores(scores(history[:1])[0], number)
    counts = data.counts.astype(np.float32)

    def score(part: slice) -> np.ndarray:
        values = scores(history[part])
        empty = ~values.any(axis=1)
        values[empty] = counts
        blank[part] = empty
        return values

    return BlockScores(score, number, num_items)


# --- the baselines beside a run ------------------------------------------------------


def compare_baselines(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet], console: Console
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the metrics of the baselines on the queries of a run.

    Args:
      config: the run; ``baselines`` adds the others to popularity.
      data: its data.
      sets: the queries by split.
      console: where the baselines that the data are too large for are named.

    Returns:
      {baseline: {split: {metric: value}}}.
    """
    kinds = fitting(config, data, console) if config.baselines else ["popularity"]

    def metrics(kind: str, split: str) -> dict[str, float]:
        return rank_baseline(config, data, kind, split, sets[split]).ranking.metrics()

    def kept(kind: str, split: str) -> dict[str, float]:
        key = _ranking_key(config, data, kind, split)
        return dict(_metrics.get(key, partial(metrics, kind, split)))

    return {kind: {split: kept(kind, split) for split in sets} for kind in kinds}


def fitting(config: Config, data: Loaded, console: Console) -> list[str]:
    """Return the names of the baselines that fit within their limits.

    Args:
      config: the run; its section ``baseline``.
      data: its data.
      console: where the others are named, each with its limit.
    """
    clicks, kept = train_clicks(data), []
    for kind in baselines_for(config.data.mask_seen):
        excess = BASELINES[kind].excess(clicks, config.baseline)
        if excess is None:
            kept.append(kind)
        else:
            line = f"baseline left out: {excess}"
            console.print(line, highlight=False, soft_wrap=True)
    return kept


def add_baselines(
    config: Config, data: Loaded, record: RunFolder, console: Console
) -> dict[str, Any]:
    """Return the result of a finished run, with the baselines that it lacks.

    Args:
      config: the run; ``baselines``.
      data: its data.
      record: its folder; result.json is written again where baselines are added.
      console: as for `compare_baselines`.
    """
    result = record.result()
    before = result.get("baselines", {})
    if config.baselines and set(before) < set(baselines_for(config.data.mask_seen)):
        sets = make_query_sets(config, data)
        now = compare_baselines(config, data, sets, console)
        if set(now) > set(before):
            result["baselines"] = now
            record.finish(result)
    return result
