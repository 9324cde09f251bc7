"""The table of metrics, and their values for lists of the whole catalogue.

A metric is one function and one entry of `METRICS`, which decides where it appears.

Lists must come from the whole catalogue: metrics among a sample of items order methods
differently, even in expectation (Krichene & Rendle, On Sampled Metrics for Item
Recommendation, KDD 2020).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from twotower_jax.evaluation import ranking
from twotower_jax.evaluation.ragged import Ragged, keep

Scope = Literal["query", "best", "uniform", "clicks", "catalogue", "rivals"]
View = Literal["run", "study"]

MAIN = "recall"  # the metric of tables where none is named
BUCKETS = ("head", "mid", "tail")


class Metric(NamedTuple):
    """One metric."""

    # evidence -> one value per query, [Q] float64, or one float ("catalogue")
    compute: Callable[[Any], np.ndarray | float]
    # the evidence that the lists are compared with. `Hits` of "query": the held-out
    # positives, "best": the k items that the user would most probably click, "uniform":
    # the items clicked in uniform exposures. "clicks": true probabilities (`Clicks`).
    # "catalogue": all lists together (`Exposure`). "rivals": items of a stage of the
    # funnel (`Contest`), by which it is named in place of a cutoff
    scope: Scope = "query"
    sliced: bool = False  # whether there are also values for head, mid and tail items
    shown: tuple[View, ...] = ()  # "run": after a run; "study": in reports of studies
    larger_is_better: bool = True  # the order of arms


METRICS = {
    "recall": Metric(ranking.recall, sliced=True, shown=("run", "study")),
    "capped_recall": Metric(ranking.capped_recall, sliced=True),
    "ndcg": Metric(ranking.ndcg, sliced=True, shown=("run", "study")),
    "mrr": Metric(ranking.mrr, sliced=True, shown=("run",)),
    "hit_rate": Metric(ranking.hit_rate, sliced=True, shown=("run",)),
    "ips_recall": Metric(ranking.ips_recall),
    "map": Metric(ranking.average_precision, sliced=True),
    "true_recall": Metric(ranking.recall, "best", sliced=True, shown=("study",)),
    "true_ctr": Metric(ranking.true_ctr, "clicks", shown=("study",)),
    "true_gain": Metric(ranking.true_gain, "clicks"),
    "uniform_recall": Metric(ranking.recall, "uniform", sliced=True),
    "coverage": Metric(ranking.coverage, "catalogue", shown=("run", "study")),
    "gini": Metric(ranking.gini, "catalogue", larger_is_better=False),
    "arp": Metric(ranking.arp, "catalogue", larger_is_better=False),
    "auc": Metric(ranking.query_auc, "rivals", shown=("study",)),
}


def of_scope(*scopes: Scope, view: View | None = None) -> dict[str, Metric]:
    """Metrics of the given scopes, in the order of the table."""
    return {
        name: metric
        for name, metric in METRICS.items()
        if metric.scope in scopes and (view is None or view in metric.shown)
    }


def metric_names(
    scopes: Collection[Scope], ks: Sequence[int], stages: Sequence[str] = ()
) -> list[str]:
    """Names of all values of an evaluation."""
    whole, sliced = [], []
    for name, metric in of_scope(*scopes).items():
        ends = stages if metric.scope == "rivals" else ks
        whole += [f"{name}@{end}" for end in ends]
        if metric.sliced:
            sliced += [f"{name}@{k}/{bucket}" for k in ks for bucket in BUCKETS]
    return whole + sliced


def stem(name: str) -> str:
    """Name of a metric without cutoff and slice."""
    return name.partition("@")[0]


def larger_is_better(name: str) -> bool:
    """Whether larger values of a named metric are better; True outside of the table."""
    metric = METRICS.get(stem(name))
    return metric is None or metric.larger_is_better


def ranking_metrics(
    items: np.ndarray,
    positives: Ragged,
    ks: Sequence[int],
    metrics: Mapping[str, Metric] | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Ranking metrics of every query at every cutoff, {"recall@20": [Q] float64, ...}.

    A query without positives has NaN everywhere: it counts in no mean.

    Args:
      items: [Q, K] integers, best first; a negative item is a miss at the end.
      positives: one row per query; a repeated item counts once.
      ks: cutoffs, each in 1..K.
      metrics: metrics that are computed from `Hits`; None: all of scope "query".
      weights: [I] float64, weight of each item in ips_recall; None: all are 1.

    Raises:
      ValueError: shapes or a cutoff do not fit, or a list has a positive twice.

    Examples:
      >>> positives = Ragged(np.array([0, 3]), np.array([4, 7, 9]))
      >>> values = ranking_metrics(np.array([[7, 1]]), positives, [2])
      >>> round(float(values["recall@2"][0]), 4), float(values["mrr@2"][0])
      (0.3333, 1.0)
    """
    items = np.asarray(items)
    if items.ndim != 2 or len(items) != positives.num_rows:
        raise ValueError(
            f"items must be [queries, K] for {positives.num_rows} rows of positives, "
            f"got {items.shape}"
        )
    _check_cutoffs(ks, items.shape[1])
    metrics = of_scope("query") if metrics is None else metrics
    items = items[:, : max(ks)]
    hit, num_positives = ranking.match_positives(items, positives)
    weight = np.ones(hit.shape)
    if weights is not None:
        weight[hit] = weights[items[hit]]
    empty = num_positives == 0
    values: dict[str, np.ndarray] = {}
    for k in ks:
        # One in place of zero keeps empty rows free of 0/0 until they become NaN.
        hits = ranking.Hits(hit[:, :k], np.maximum(num_positives, 1), weight[:, :k])
        for name, metric in metrics.items():
            values[f"{name}@{k}"] = np.where(empty, np.nan, metric.compute(hits))
    return values


def catalogue_metrics(
    items: np.ndarray, counts: np.ndarray, ks: Sequence[int]
) -> dict[str, float]:
    """Metrics of scope "catalogue": of the lists of all queries together."""
    items, counts = np.asarray(items), np.asarray(counts, dtype=np.float64)
    _check_cutoffs(ks, items.shape[1])
    values, metrics = {}, of_scope("catalogue")
    for k in ks:
        listed = items[:, :k]
        times = np.bincount(listed[listed >= 0], minlength=len(counts))
        exposure = ranking.Exposure(times, counts)
        for name, metric in metrics.items():
            values[f"{name}@{k}"] = float(metric.compute(exposure))
    return values


def click_metrics(
    listed: np.ndarray, best: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Metrics of scope "clicks", of every query at every cutoff."""
    values, metrics = {}, of_scope("clicks")
    for k in ks:
        clicks = ranking.Clicks(listed[:, :k], best[:, :k])
        for name, metric in metrics.items():
            values[f"{name}@{k}"] = np.asarray(metric.compute(clicks))
    return values


def _check_cutoffs(ks: Sequence[int], width: int) -> None:
    """Raise ValueError unless there are cutoffs and all are in 1..width."""
    if len(ks) == 0 or min(ks) < 1 or max(ks) > width:
        raise ValueError(f"cutoffs must be in 1..{width}, got {list(ks)}")


# --- slices by the popularity of the positives, and means over queries ----------------


def popularity_buckets(counts: np.ndarray) -> np.ndarray:
    """Thirds of the clicks, as a bucket of each item: int8 [I], 0 head, 1 mid, 2 tail.

    Items are sorted by count, largest first (equal counts: lower index first), and laid
    end to end on a line of all clicks that is cut into three equal parts. An item
    belongs to the part in which it begins; one without clicks is tail.

    Args:
      counts: [I] training clicks of each item, whole numbers, at least 0.

    Examples:
      >>> popularity_buckets(np.array([1, 4, 0, 2, 2])).tolist()
      [2, 0, 2, 1, 2]
    """
    given = np.asarray(counts)
    counts = given.astype(np.int64)
    if given.ndim != 1 or np.any(counts != given) or np.any(counts < 0):
        raise ValueError("counts must be one whole number, at least 0, for each item")
    buckets = np.full(len(counts), 2, np.int8)
    order = np.argsort(-counts, kind="stable")
    order = order[: np.count_nonzero(counts)]
    before = np.cumsum(counts[order]) - counts[order]
    # Whole numbers: an item that begins exactly at a cut is never rounded across.
    buckets[order] = 3 * before // max(int(counts.sum()), 1)
    return buckets


def sliced_metrics(
    items: np.ndarray,
    positives: Ragged,
    buckets: np.ndarray,
    ks: Sequence[int],
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, np.ndarray]:
    """Metrics where only the positives of one bucket are to be found.

    An item of another bucket keeps its rank and is a miss. Args and errors are those of
    `ranking_metrics`; metrics that are not sliced are left out.

    Args:
      buckets: [I] int, see `popularity_buckets`; each positive needs one.

    Returns:
      {"recall@20/head": float64 [Q], ...}; NaN without a positive in the bucket.

    Examples:
      >>> positives = Ragged(np.array([0, 2]), np.array([0, 1]))
      >>> values = sliced_metrics(np.array([[0]]), positives, np.array([0, 2]), [1])
      >>> float(values["recall@1/head"][0]), float(values["recall@1/tail"][0])
      (1.0, 0.0)
    """
    number, largest = len(buckets), positives.items.max(initial=-1)
    if largest >= number:
        raise ValueError(
            f"positives must be below the number of buckets, {number}, got {largest}"
        )
    metrics = of_scope("query") if metrics is None else metrics
    sliced = {name: metric for name, metric in metrics.items() if metric.sliced}
    bucket = np.asarray(buckets)[positives.items]
    values: dict[str, np.ndarray] = {}
    for code, part in enumerate(BUCKETS):
        kept = keep(positives, bucket == code)
        whole = ranking_metrics(items, kept, ks, sliced)
        values |= {f"{name}/{part}": value for name, value in whole.items()}
    return values


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    values = np.asarray(values, dtype=np.float64)
    kept = values[~np.isnan(values)]
    return float(kept.sum() / len(kept)) if len(kept) else float("nan")


def summarise(per_query: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean over queries of each metric."""
    return {name: mean(values) for name, values in per_query.items()}
