"""Baselines of a run, whose fits and rankings the next runs of the process share."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.evaluation.scorers import BlockScores, Scorer, SharedScores
from twotower_jax.model.towers import BASELINES, Scores, baselines_for
from twotower_jax.model.towers.choice import Clicks, click_matrix
from twotower_jax.run.folder import RunFolder
from twotower_jax.run.loader import (
    Latest,
    Loaded,
    baseline_of,
    excess_of,
    numbers_of,
    train_clicks,
)
from twotower_jax.run.rank import QuerySet, Ranking, make_query_sets, rank


class BaselineRanking(NamedTuple):
    """The ranking of a split by a baseline."""

    ranking: Ranking
    # Number of queries that have the order of popularity, for all of their scores are
    # 0: the user has no positive that the baseline knows.
    by_popularity: int
    # Type in which a matrix was inverted: that of EASE depends on the free memory.
    precision: str | None = None


_fits: Latest[Scores] = Latest(1)  # one EASE model may hold a gigabyte
# Valid and test of a run, and the arms of an advice, whose seeds share them.
_rankings: Latest[BaselineRanking] = Latest(8)
_metrics: Latest[dict[str, float]] = Latest(64)


def knows_valid(config: Config) -> bool:
    """Return whether the towers read a query's positives of the valid part on test."""
    return "history" in config.towers.query


def known_clicks(config: Config, data: Loaded, split: str) -> Clicks:
    """Return the positives that a baseline knows of each user: [users, items].

    They are those that the towers know.
    """
    train, valid = data.split.train, data.split.valid
    user, item = train.user, train.item
    if split == "test" and knows_valid(config):
        user = np.concatenate([user, valid.user])
        item = np.concatenate([item, valid.item])
    shape = data.log.num_users, data.log.num_items
    return click_matrix(user, item, shape)


def fit_baseline(config: Config, data: Loaded, kind: str) -> Scores:
    """Return the scores of a fitted baseline, which is kept for the next call."""

    def fit() -> Scores:
        baseline, numbers = baseline_of(config, kind), numbers_of(config, kind)
        return baseline.fit(train_clicks(data), numbers, config.seed)

    return _fits.get(_fit_key(config, data, kind), fit)


def baseline_scorer(
    config: Config, data: Loaded, kind: str, history: Clicks, blank: np.ndarray
) -> Scorer:
    """Return the scores of a baseline, given its positives [queries, items].

    A query without a score of its own has those of popularity, and is marked in
    ``blank`` [queries] bool when it is scored.
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


def rank_baseline(
    config: Config, data: Loaded, kind: str, split: str, queries: QuerySet
) -> BaselineRanking:
    """Rank the catalogue for the queries of a split by a baseline."""

    def make() -> BaselineRanking:
        blank = np.zeros(len(queries.user), bool)
        history = known_clicks(config, data, split)[queries.user]
        scorer = baseline_scorer(config, data, kind, history, blank)
        ranking = rank(config, data, queries, scorer)
        precision = getattr(fit_baseline(config, data, kind), "precision", None)
        return BaselineRanking(ranking, int(blank.sum()), precision)

    return _rankings.get(_ranking_key(config, data, kind, split), make)


def rank_splits(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet]
) -> tuple[dict[str, Ranking], dict[str, Any]]:
    """Return the rankings by split of a run of a baseline, and counts by split."""
    ranked = {
        split: rank_baseline(config, data, config.towers.kind, split, queries)
        for split, queries in sets.items()
    }
    numbers = {split: made.by_popularity for split, made in ranked.items()}
    counts: dict[str, Any] = {"queries ranked by popularity": numbers}
    if precision := next(iter(ranked.values())).precision:
        counts["precision"] = precision
    return {split: made.ranking for split, made in ranked.items()}, counts


def _fit_key(config: Config, data: Loaded, kind: str) -> tuple[Hashable, ...]:
    """Return the key of a fit: equal keys, equal scores."""
    numbers = baseline_of(config, kind).structure(), numbers_of(config, kind)
    seed = config.seed if BASELINES[kind].seeded else None
    return data.fingerprint, kind, numbers, seed


def _ranking_key(
    config: Config, data: Loaded, kind: str, split: str
) -> tuple[Hashable, ...]:
    """Return the key of a ranking: equal keys, equal metrics."""
    sections = repr(config.data), repr(config.evaluation)
    return *_fit_key(config, data, kind), split, knows_valid(config), *sections


# --- the baselines beside a run -------------------------------------------------------


def compare_baselines(
    config: Config, data: Loaded, sets: Mapping[str, QuerySet], console: Console
) -> dict[str, dict[str, dict[str, float]]]:
    """Return {baseline: {split: {metric: value}}} on the queries of a run.

    ``config.baselines`` adds to popularity all that are within their limits.
    """
    kinds = ["popularity"]
    if config.baselines:
        clicks, kinds = train_clicks(data), []
        for kind in baselines_for(config.data.mask_seen):
            if (excess := excess_of(config, kind, clicks)) is None:
                kinds.append(kind)
            else:
                line = f"baseline left out: {excess}"
                console.print(line, highlight=False, soft_wrap=True)

    def metrics(kind: str, split: str) -> dict[str, float]:
        def make() -> dict[str, float]:
            ranked = rank_baseline(config, data, kind, split, sets[split])
            return ranked.ranking.metrics()

        return dict(_metrics.get(_ranking_key(config, data, kind, split), make))

    return {kind: {split: metrics(kind, split) for split in sets} for kind in kinds}


def add_baselines(
    config: Config, data: Loaded, record: RunFolder, console: Console
) -> dict[str, Any]:
    """Return the result of a finished run; baselines that it lacks are added to it."""
    result = record.result()
    before = result.get("baselines", {})
    if config.baselines and set(before) < set(baselines_for(config.data.mask_seen)):
        sets = make_query_sets(config, data)
        now = compare_baselines(config, data, sets, console)
        if set(now) > set(before):
            result["baselines"] = now
            record.finish(result)
    return result
