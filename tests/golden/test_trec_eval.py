"""The ranking metrics against trec_eval's, see make_golden.py."""

import csv
from pathlib import Path

import numpy as np
import pytest

from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.ragged import from_pairs

HERE = Path(__file__).parent
KS = (1, 5, 10, 20, 40)
# Ours by trec_eval's name. map@k is the one definition that differs: trec_eval
# divides the sum of precisions by all P positives, ours by min(k, P).
NAMES = {
    "recall": "recall",
    "ndcg_cut": "ndcg",
    "recip_rank": "mrr",
    "success": "hit_rate",
    "map_cut": "map",
}


def rows(name):
    with open(HERE / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def ours():
    run = rows("run.csv")
    num_queries = len({row["query"] for row in run})
    lists = [[] for _ in range(num_queries)]
    for row in run:
        lists[int(row["query"])].append((-float(row["score"]), int(row["item"])))
    items = np.array([[item for _, item in sorted(pairs)] for pairs in lists])
    qrels = rows("qrels.csv")
    positives = from_pairs(
        np.array([int(row["query"]) for row in qrels]),
        np.array([int(row["item"]) for row in qrels]),
        num_queries,
    )
    return ranking_metrics(items, positives, KS), positives


@pytest.mark.parametrize("measure", NAMES)
@pytest.mark.parametrize("k", KS)
def test_equals_trec_eval(ours, measure, k):
    values, positives = ours
    theirs = np.full(positives.num_rows, np.nan)
    for row in rows("values.csv"):
        if row["measure"] == f"{measure}_{k}":
            theirs[int(row["query"])] = float(row["value"])
    if measure == "map_cut":
        size = positives.sizes
        theirs = theirs * size / np.clip(size, 1, k)
    np.testing.assert_allclose(
        values[f"{NAMES[measure]}@{k}"], theirs, rtol=1e-12, equal_nan=True
    )


def test_the_golden_data_has_the_hard_cases(ours):
    values, positives = ours
    assert (positives.sizes == 0).any() and (positives.sizes > 40).any()
    found = values["hit_rate@40"]
    assert (found == 0).any() and (found == 1).any()
    assert len(rows("values.csv")) == 25 * np.count_nonzero(positives.sizes)
