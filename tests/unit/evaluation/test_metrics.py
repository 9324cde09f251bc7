import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower_jax.evaluation.metrics import (
    METRICS,
    catalogue_metrics,
    mean,
    metric_names,
    of_scope,
    popularity_buckets,
    ranking_metrics,
    sliced_metrics,
    summarise,
)
from twotower_jax.evaluation.ragged import Ragged, from_pairs

RANKING = tuple(of_scope("query"))


def ragged(rows):
    """A Ragged of a list of lists."""
    number = [len(row) for row in rows]
    items = [item for row in rows for item in row]
    return from_pairs(
        np.repeat(np.arange(len(rows)), number), np.array(items, int), len(rows)
    )


def slow_metrics(items, positives, k):
    """The definitions, one query and one rank at a time."""
    if not positives:
        return dict.fromkeys(RANKING, math.nan)
    hits, gain, precision, first = 0, 0.0, 0.0, 0
    for rank, item in enumerate(items[:k], start=1):
        if item in positives:
            hits += 1
            gain += 1 / math.log2(rank + 1)
            precision += hits / rank
            first = first or rank
    most = min(k, len(positives))
    return {
        "recall": hits / len(positives),
        "capped_recall": hits / most,
        "ndcg": gain / sum(1 / math.log2(rank + 1) for rank in range(1, most + 1)),
        "mrr": 1 / first if first else 0.0,
        "hit_rate": float(hits > 0),
        "map": precision / most,
        "ips_recall": hits / len(positives),  # weights: tests of propensity
    }


def test_by_hand():
    # Hits at ranks 2 and 4, of five positives.
    values = ranking_metrics(
        np.array([[10, 11, 12, 13, 14]]), ragged([[11, 13, 20, 21, 22]]), [3, 4]
    )
    assert set(values) == {f"{name}@{k}" for name in RANKING for k in (3, 4)}
    found = {name: round(float(value[0]), 6) for name, value in values.items()}
    assert found["recall@3"] == 0.2 and found["recall@4"] == 0.4
    assert found["capped_recall@3"] == 0.333333 and found["capped_recall@4"] == 0.5
    assert found["ndcg@3"] == 0.296082  # .63093 / (1 + .63093 + .5)
    assert found["ndcg@4"] == 0.41443  # (.63093 + .43068) / 2.56161
    assert found["mrr@3"] == 0.5 and found["mrr@4"] == 0.5
    assert found["hit_rate@3"] == 1.0
    assert found["map@3"] == 0.166667  # (1/2) / 3
    assert found["map@4"] == 0.25  # (1/2 + 2/4) / 4


def test_a_perfect_list():
    values = ranking_metrics(np.array([[3, 1, 2]]), ragged([[1, 2, 3, 4, 5, 6]]), [3])
    expected = {
        "recall@3": 0.5,
        "capped_recall@3": 1.0,
        "ndcg@3": 1.0,
        "mrr@3": 1.0,
        "hit_rate@3": 1.0,
        "map@3": 1.0,
    }
    assert {name: float(values[name][0]) for name in expected} == expected


def test_the_first_hit_is_beyond_the_cutoff():
    values = ranking_metrics(np.array([[5, 6, 7]]), ragged([[7]]), [2, 3])
    assert values["mrr@2"][0] == 0 and values["mrr@3"][0] == 1 / 3
    assert values["hit_rate@2"][0] == 0 and values["ndcg@3"][0] == 0.5


def test_a_query_without_positives_is_nan():
    values = ranking_metrics(np.array([[0, 1], [0, 1]]), ragged([[], [1]]), [1, 2])
    for name, value in values.items():
        assert np.isnan(value[0]) and not np.isnan(value[1]), name
        assert value.dtype == np.float64


def test_no_query_has_positives():
    values = ranking_metrics(np.array([[0, 1], [0, 1]]), ragged([[], []]), [2])
    assert all(np.isnan(value).all() for value in values.values())


def test_the_end_of_a_short_list_is_a_miss():
    # -1 in the second row must not match the last key of the first.
    items = np.array([[9, -1, -1], [-1, -1, -1]])
    values = ranking_metrics(items, ragged([[9], [0]]), [3])
    assert values["recall@3"].tolist() == [1.0, 0.0]
    items = np.array([[1, 2, 3], [-1, -1, -1]])
    values = ranking_metrics(items, ragged([[9], [9]]), [3])
    assert values["recall@3"].tolist() == [0.0, 0.0]


def test_a_positive_given_twice_counts_once():
    twice = Ragged(np.array([0, 3]), np.array([4, 4, 5], np.int32))
    values = ranking_metrics(np.array([[4, 0]]), twice, [2])
    assert values["recall@2"][0] == 0.5


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_queries=st.integers(1, 6),
    num_items=st.integers(4, 40),
)
def test_equals_the_loop(seed, num_queries, num_items):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, num_items + 1))
    items = np.argsort(rng.random((num_queries, num_items)), axis=1)[:, :length]
    items[rng.random(num_queries) < 0.3, length // 2 :] = -1
    chosen = rng.random((num_queries, num_items)) < rng.choice([0.0, 0.1, 0.5, 1.0])
    positives = from_pairs(*np.nonzero(chosen), num_queries)
    ks = sorted({1, (length + 1) // 2, length})
    values = ranking_metrics(items, positives, ks)
    for query in range(num_queries):
        for k in ks:
            wanted = set(np.flatnonzero(chosen[query]).tolist())
            slow = slow_metrics(items[query].tolist(), wanted, k)
            fast = {name: values[f"{name}@{k}"][query] for name in RANKING}
            assert set(slow) == set(RANKING), "a metric without its slow definition"
            for name in RANKING:
                assert fast[name] == pytest.approx(slow[name], rel=1e-12, nan_ok=True)


def test_the_order_of_cutoffs_does_not_matter():
    items, positives = np.array([[3, 1, 2, 0]]), ragged([[1, 0]])
    up = ranking_metrics(items, positives, [1, 2, 4])
    down = ranking_metrics(items, positives, (4, 2, 1))
    assert up == down


@pytest.mark.parametrize("ks", [[], [0], [1, 4]])
def test_cutoffs_out_of_range(ks):
    with pytest.raises(ValueError, match=r"cutoffs must be in 1..3, got"):
        ranking_metrics(np.array([[1, 2, 3]]), ragged([[1]]), ks)


def test_lists_that_do_not_fit():
    with pytest.raises(ValueError, match=r"for 2 rows of positives, got \(1, 3\)"):
        ranking_metrics(np.array([[1, 2, 3]]), ragged([[1], [2]]), [1])
    with pytest.raises(ValueError, match="a positive twice"):
        ranking_metrics(np.array([[1, 1]]), ragged([[1]]), [2])


def test_thirty_thousand_queries_take_seconds_not_minutes():
    rng = np.random.default_rng(0)
    items = rng.integers(0, 1000, (30_000, 1)) + 7 * np.arange(100)[None, :]
    rows = np.repeat(np.arange(30_000), 10)
    positives = from_pairs(rows, rng.integers(0, 2000, 300_000), 30_000)
    start = time.process_time()
    ranking_metrics(items, positives, (10, 20, 50, 100))
    # Measured: 0.6 s. The bound leaves room for a slow machine, not for a loop.
    assert time.process_time() - start < 6


def test_catalogue_by_hand():
    counts = np.array([8, 4, 2, 1, 0])
    values = catalogue_metrics(np.array([[0, 1], [0, 2], [0, -1]]), counts, [1, 2])
    assert values["coverage@1"] == 0.2 and values["coverage@2"] == 0.6
    assert values["arp@1"] == 8.0 and values["arp@2"] == 6.0  # (8*3 + 4 + 2) / 5
    assert values["gini@1"] == pytest.approx(0.8)  # one item of five
    # Ascending 0 0 1 1 3 with weights -4 -2 0 2 4: 14 / (5 * 5).
    assert values["gini@2"] == pytest.approx(0.56)
    assert all(type(value) is float for value in values.values())


def test_an_even_catalogue_has_gini_zero():
    values = catalogue_metrics(np.array([[0, 1], [2, 3]]), np.ones(4, int), [2])
    assert values == {"coverage@2": 1.0, "gini@2": 0.0, "arp@2": 1.0}


def test_gini_equals_the_mean_difference():
    rng = np.random.default_rng(1)
    items = rng.integers(0, 30, (40, 5)) // 2
    times = np.bincount(items.reshape(-1), minlength=30)
    difference = np.abs(times[:, None] - times[None, :]).mean() / (2 * times.mean())
    found = catalogue_metrics(items, np.ones(30, int), [5])["gini@5"]
    assert found == pytest.approx(difference, rel=1e-12)


def test_nothing_recommended():
    values = catalogue_metrics(np.full((2, 3), -1), np.ones(4, int), [3])
    assert values["coverage@3"] == 0.0
    assert math.isnan(values["gini@3"]) and math.isnan(values["arp@3"])


def test_catalogue_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="cutoffs"):
        catalogue_metrics(np.array([[0]]), np.ones(3, int), [2])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Nine clicks: cuts at 3 and 6.
        ([3, 3, 3], [0, 1, 2]),
        ([1, 1, 1, 3, 3], [2, 2, 2, 0, 1]),
        # The item that reaches across a cut belongs to where it begins.
        ([5, 2, 1, 1], [0, 1, 2, 2]),
        ([9, 0, 0], [0, 2, 2]),
        ([1, 1], [0, 1]),
        ([2, 2, 2, 2, 2, 2], [0, 0, 1, 1, 2, 2]),
        ([0, 0], [2, 2]),
        ([], []),
    ],
)
def test_buckets_by_hand(counts, expected):
    found = popularity_buckets(np.array(counts, int))
    assert found.tolist() == expected and found.dtype == np.int8


@settings(max_examples=40)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_buckets_hold_a_third_each(counts):
    counts = np.array(counts)
    buckets = popularity_buckets(counts)
    total, largest = counts.sum(), counts.max()
    for bucket in range(3):
        # An item moves whole, so a bucket is off by less than one item at each end.
        assert abs(counts[buckets == bucket].sum() - total / 3) <= largest
    assert (buckets[counts == 0] == 2).all()
    clicked = np.flatnonzero(counts)
    order = clicked[np.lexsort((clicked, -counts[clicked]))]
    assert (np.diff(buckets[order]) >= 0).all()


@pytest.mark.parametrize("counts", [[1, -1], [0.5, 1], [[1, 2]]])
def test_buckets_refuse(counts):
    with pytest.raises(ValueError, match="one whole number"):
        popularity_buckets(np.array(counts))


def test_slices_by_hand():
    buckets = np.array([0, 1, 2, 2], np.int8)
    items = np.array([[0, 1, 2], [3, 1, 0]])
    positives = ragged([[0, 2, 3], [1]])
    values = sliced_metrics(items, positives, buckets, [2, 3])
    sliced = [name for name in RANKING if METRICS[name].sliced]
    assert len(values) == len(sliced) * 2 * 3
    np.testing.assert_array_equal(values["recall@2/head"], [1.0, np.nan])
    np.testing.assert_array_equal(values["recall@2/mid"], [np.nan, 1.0])
    np.testing.assert_array_equal(values["recall@2/tail"], [0.0, np.nan])
    np.testing.assert_array_equal(values["recall@3/tail"], [0.5, np.nan])
    # The head item above it keeps rank 1: the tail item is at rank 3.
    np.testing.assert_array_equal(values["mrr@3/tail"], [1 / 3, np.nan])
    assert values["ndcg@3/tail"][0] == pytest.approx(0.5 / (1 + 1 / math.log2(3)))


def test_slices_add_up_to_the_whole():
    rng = np.random.default_rng(2)
    items = np.argsort(rng.random((20, 60)), axis=1)[:, :30]
    chosen = rng.random((20, 60)) < 0.2
    positives = from_pairs(*np.nonzero(chosen), 20)
    buckets = popularity_buckets(rng.integers(0, 9, 60))
    parts = sliced_metrics(items, positives, buckets, [30])
    hits = 0
    for code, name in enumerate(("head", "mid", "tail")):
        share = np.nan_to_num(parts[f"recall@30/{name}"])
        hits = hits + share * chosen[:, buckets == code].sum(axis=1)
    whole = ranking_metrics(items, positives, [30])["recall@30"]
    np.testing.assert_allclose(hits / chosen.sum(axis=1), whole, rtol=1e-12)


def test_a_positive_without_a_bucket():
    with pytest.raises(ValueError, match="below the number of buckets, 2, got 2"):
        sliced_metrics(np.array([[0]]), ragged([[2]]), np.zeros(2, np.int8), [1])


def test_mean_leaves_nan_out():
    assert mean(np.array([1.0, np.nan, 0.0, 2.0])) == 1.0
    assert math.isnan(mean(np.array([np.nan]))) and math.isnan(mean(np.array([])))
    found = summarise({"a": np.array([np.nan, 0.25]), "b": np.array([1.0, 0.0])})
    assert found == {"a": 0.25, "b": 0.5}
    assert type(found["a"]) is float


def test_every_entry_of_the_table_is_named_once():
    scopes = {metric.scope for metric in METRICS.values()}
    names = metric_names(scopes, [5, 10], ["exposed"])
    assert len(names) == len(set(names))
    assert {name.partition("@")[0] for name in names} == set(METRICS)
    sliced = {name.partition("@")[0] for name in names if "/" in name}
    assert sliced == {name for name, metric in METRICS.items() if metric.sliced}
