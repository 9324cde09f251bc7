"""Lists with one score throughout are not ordered by the order of the log."""

import numpy as np

from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.scorers import Embeddings, tied_queries, without_order

ITEMS, K = 1_000, 20


def lists(embedded, seen=None):
    scores, items = embedded.top_k(K, seen)
    tied = tied_queries(scores)
    return tied, items, without_order(embedded, items, tied, seen)


def test_equal_vectors_get_items_from_the_whole_catalogue():
    seen = from_pairs(np.zeros(500, int), np.arange(500), 3)
    same = Embeddings(np.ones((3, 4), np.float32), np.ones((ITEMS, 4), np.float32))
    tied, before, after = lists(same, seen)
    assert tied.all()
    assert before[1].tolist() == list(range(K))  # the order of the log
    assert after[1].tolist() == after[2].tolist() != before[1].tolist()
    assert 300 < after[1].mean() < 700
    assert len(set(after[0].tolist())) == K and after[0].min() >= 500


def test_only_items_with_the_best_score_are_in_such_a_list():
    candidates = np.ones((ITEMS, 1), np.float32)
    candidates[:900] = 0
    tied, _, after = lists(Embeddings(np.ones((1, 1), np.float32), candidates))
    assert tied.all() and after.min() >= 900


def test_other_lists_stay_as_they_are():
    rng = np.random.default_rng(0)
    embedded = Embeddings(*(rng.normal(size=(n, 4)).astype("f4") for n in (5, ITEMS)))
    tied, before, after = lists(embedded)
    assert not tied.any() and (before == after).all()
