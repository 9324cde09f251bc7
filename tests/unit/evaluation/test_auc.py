"""AUC of each query against a library's rank statistic, pair by pair."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.ranking import Contest, query_auc
from twotower_jax.evaluation.scorers import Embeddings


def make(seed: int, queries: int = 30, items: int = 50, dim: int = 2):
    """Return vectors with many equal scores, and random sets of items."""
    rng = np.random.default_rng(seed)
    left = rng.integers(-2, 3, (queries, dim)).astype(np.float32)
    right = rng.integers(-2, 3, (items, dim)).astype(np.float32)
    sets = [rng.random((queries, items)) < share for share in (0.1, 0.3)]
    sets[1] &= ~sets[0]
    return left, right, *(from_pairs(*np.nonzero(s), queries) for s in sets)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_mann_whitney_statistic_over_pairs(seed):
    left, right, positives, others = make(seed)
    values = query_auc(Contest(Embeddings(left, right).of_pairs, positives, others))
    scores = (left @ right.T).astype(np.float64)
    for row, value in enumerate(values):
        a, b = (
            scores[row, part.items[part.offsets[row] : part.offsets[row + 1]]]
            for part in (positives, others)
        )
        if not len(a) or not len(b):
            assert np.isnan(value)
            continue
        expected = mannwhitneyu(a, b).statistic / (len(a) * len(b))
        assert value == pytest.approx(expected, abs=1e-12)


def test_perfect_reversed_and_constant_scores_give_one_zero_and_a_half():
    positives, others = from_pairs([0], [2], 1), from_pairs([0, 0], [0, 1], 1)
    for slope, expected in ((1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)):
        left = np.array([[slope]])
        right = np.arange(3.0)[:, None]
        assert (
            query_auc(Contest(Embeddings(left, right).of_pairs, positives, others))[0]
            == expected
        )


def test_a_query_without_one_of_the_two_has_no_value():
    left, right = np.ones((3, 1)), np.arange(4.0)[:, None]
    some = from_pairs([0, 1], [3, 3], 3)
    others = from_pairs([0, 2], [0, 0], 3)
    values = query_auc(Contest(Embeddings(left, right).of_pairs, some, others))
    assert values[0] == 1
    assert np.isnan(values[1:]).all()


def test_other_numbers_of_rows_are_refused():
    one, two = from_pairs([0], [0], 1), from_pairs([0], [0], 2)
    scorer = Embeddings(np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match="1 rows of positives, but 2 of others"):
        query_auc(Contest(scorer.of_pairs, one, two))
