"""The example of Krichene & Rendle (KDD 2020): metrics over sampled items mislead.

Three recommenders A, B and C rank one relevant item of 10,000 for each of five users.
Over all items C is the best by every metric but AUC; among 99 sampled items A is.
"""

import numpy as np
import pytest
from scipy.stats import binom

from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.ranking import Contest, query_auc

ITEMS = 10_000
RANKS = {
    "A": [100] * 5,
    "B": [40, 40, 8437, 9266, 4482],
    "C": [212, 2, 743, 5342, 1548],
}
# AUC, average precision, NDCG, recall@10: as published, to the last digit.
EXACT = {
    "A": (0.990, 0.010, 0.150, 0.0),
    "B": (0.555, 0.010, 0.122, 0.0),
    "C": (0.843, 0.101, 0.208, 0.2),
}
# Expectations over the samples, by the binomial distribution of the sampled rank.
SAMPLED = {
    ("A", 99): (0.9901, 0.6366, 0.7290, 1.000),
    ("B", 99): (0.5548, 0.3407, 0.4473, 0.400),
    ("C", 99): (0.8431, 0.3262, 0.4600, 0.569),
    ("A", 999): (0.9901, 0.1010, 0.2883, 0.4711),
    ("B", 999): (0.5548, 0.1014, 0.2342, 0.3973),
    ("C", 999): (0.8431, 0.2042, 0.3191, 0.2005),
}


def at_ranks(ranks, number):
    """Metrics [ranks, 4] of one relevant item at each rank among ``number`` items."""
    ranks = np.asarray(ranks)
    spans = np.arange(len(ranks) + 1)
    positives = Ragged(spans, ranks - 1)  # item i stands at rank i + 1 for every user
    lists = np.tile(np.arange(number), (len(ranks), 1))
    found = ranking_metrics(lists, positives, [10, number])
    others = np.concatenate([np.delete(lists[0], rank - 1) for rank in ranks])
    rivals = Ragged(spans * (number - 1), others)
    auc = query_auc(
        Contest(lambda pairs: -pairs.items.astype(float), positives, rivals)
    )
    precision = found[f"map@{number}"]
    return np.stack([auc, precision, found[f"ndcg@{number}"], found["recall@10"]], 1)


@pytest.mark.parametrize("name", RANKS)
def test_metrics_over_the_catalogue_are_the_published_ones(name):
    values = at_ranks(RANKS[name], ITEMS).mean(axis=0)
    assert values.round(3).tolist() == list(EXACT[name])


@pytest.mark.parametrize(("name", "sampled"), SAMPLED)
def test_metrics_over_sampled_items_are_their_expectations(name, sampled):
    of_rank = at_ranks(np.arange(1, sampled + 2), sampled + 1)
    share = (np.array(RANKS[name]) - 1) / (ITEMS - 1)
    above = binom.pmf(np.arange(sampled + 1)[None], sampled, share[:, None])
    values = (above @ of_rank).mean(axis=0)
    assert values == pytest.approx(SAMPLED[name, sampled], abs=5e-4)


def test_sampling_turns_the_order_of_recommenders_around():
    whole = {name: at_ranks(ranks, ITEMS).mean(axis=0) for name, ranks in RANKS.items()}
    for metric in (1, 2, 3):
        assert max(whole, key=lambda name: whole[name][metric]) == "C"
        assert max("ABC", key=lambda name: SAMPLED[name, 99][metric]) == "A"
