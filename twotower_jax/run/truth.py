"""Metrics against the truth of a simulated world: the clicks that users would make.

A log has clicks on items that were shown alone; the simulator knows the probability of
every click, at the end of the log or at ``data.until``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.config.evaluation import EvaluationConfig
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.simulator import facts
from twotower_jax.data.simulator.funnel import share_of_time
from twotower_jax.data.sources import SOURCES
from twotower_jax.data.split import to_seconds
from twotower_jax.evaluation import metrics
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.ranking import Contest, query_auc
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.run.loader import Latest, Loaded


class Truth(NamedTuple):
    """The truth for the queries of users."""

    # P(click | looked at) [Q, K] of lists [Q, K] of codes, NaN on padding.
    probabilities: Callable[[np.ndarray], np.ndarray]
    # [Q, K] codes of the unmasked items that each user would most probably click, best
    # first, -1 where none is left.
    best: np.ndarray
    ideal: np.ndarray  # [Q, K] float64 probabilities of a click on them, NaN beyond
    uniform: Ragged | None  # items clicked in uniform exposures, a row per query


def make_truth(
    config: DataConfig,
    evaluation: EvaluationConfig,
    data: Loaded,
    users: np.ndarray,
    seen: Ragged | None,
) -> Truth | None:
    """Return the truth for users [Q] by code, of unseen items; None without a truth."""
    if not SOURCES[config.source].has_truth or not evaluation.truth:
        return None
    world, moment = config.simulator, 1.0
    if config.until is not None:
        moment = share_of_time(world, to_seconds("data.until", config.until))
    user = data.log.user_ids.to_numpy()[users]
    item = data.log.item_ids.to_numpy()
    vectors = facts.true_vectors(world, user, item, moment)
    _, best = top_k(*vectors, max(evaluation.k), seen=seen)
    uniform = None
    if evaluation.uniform_exposures:
        per_user = evaluation.uniform_exposures
        shown = _exposures(world, per_user=per_user, moment=moment)
        row = np.full(world.users, -1)
        row[user] = np.arange(len(user))
        code = np.full(world.items, -1)
        code[item] = np.arange(len(item))
        rows, codes = row[shown.user], code[shown.item]
        kept = shown.clicked & (rows >= 0) & (codes >= 0)
        rows, codes = rows[kept], codes[kept]
        if seen is not None:
            pairs = seen.rows * len(item) + seen.items
            new = ~np.isin(rows * len(item) + codes, pairs)
            rows, codes = rows[new], codes[new]
        uniform = from_pairs(rows, codes, len(user))

    def probabilities(lists: np.ndarray) -> np.ndarray:
        filled = lists >= 0
        users = np.broadcast_to(user[:, None], lists.shape)[filled]
        out = np.full(lists.shape, np.nan)
        out[filled] = facts.truth(world, users, item[lists[filled]], moment)
        return out

    return Truth(probabilities, best, probabilities(best), uniform)


_exposures = functools.lru_cache(maxsize=1)(facts.uniform_exposures)


def true_metrics(
    truths: Truth, items: np.ndarray, buckets: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return true_recall, true_ctr, true_gain, uniform_recall of lists: [Q] float64."""
    values: dict[str, np.ndarray] = {}
    probability = truths.probabilities(items)

    def add_hits(scope: metrics.Scope, k: int, positives: Ragged) -> None:
        chosen, lists = metrics.of_scope(scope), items[:, :k]
        values.update(metrics.ranking_metrics(lists, positives, [k], chosen))
        values.update(metrics.sliced_metrics(lists, positives, buckets, [k], chosen))

    for k in ks:
        rows, columns = np.nonzero(truths.best[:, :k] >= 0)
        add_hits("best", k, from_pairs(rows, truths.best[rows, columns], len(items)))
        values |= metrics.click_metrics(probability, truths.ideal, [k])
        if truths.uniform is not None:
            add_hits("uniform", k, truths.uniform)
    return values


# --- the stages of the funnel ---------------------------------------------------------


def stage_truth(
    config: DataConfig, log: FunnelLog, most: int = 2_000
) -> dict[str, dict[str, float]]:
    """Return {furthest stage: {"rows", "click_rate", "auc"}}, {} without a truth.

    The rate is the mean P(click | looked at) of the items at the time of their request,
    the AUC that of a perfect model against the clicks of the request; both are of at
    most ``most`` requests, evenly spread over time.
    """
    if not SOURCES[config.source].has_truth or log.request is None:
        return {}
    world = config.simulator
    kept = log.request % -(-world.requests // most) == 0
    user, item, stage = log.user[kept], log.item[kept], log.stage[kept]
    request = log.request[kept]
    ids = log.user_ids.to_numpy()[user], log.item_ids.to_numpy()[item]
    probability = facts.truth(world, *ids, (request + 0.5) / world.requests)

    def rows_of(furthest: Stage) -> Ragged:
        rows = np.flatnonzero(stage == furthest)
        return from_pairs(request[rows], rows, world.requests)

    clicked, stages = rows_of(Stage.CLICKED), {}
    for furthest in Stage:
        rows = rows_of(furthest)
        if not len(rows.items):
            continue
        contest = Contest(lambda pairs: probability[pairs.items], clicked, rows)
        auc = query_auc(contest)
        auc = auc[np.isfinite(auc)]
        stages[furthest.name.lower()] = {
            "rows": int(np.count_nonzero(log.stage == furthest)),
            "click_rate": float(probability[rows.items].mean()),
        } | ({"auc": float(auc.mean())} if len(auc) else {})
    return stages


_stage_truths: Latest[dict[str, dict[str, float]]] = Latest(2)


def shared_stage_truth(config: DataConfig, data: Loaded) -> dict[str, dict[str, float]]:
    """Return the result of `stage_truth`, computed once for the runs of a process."""
    return _stage_truths.get(data.fingerprint, lambda: stage_truth(config, data.log))
