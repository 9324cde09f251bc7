"""Every form of scores gives the lists of exact top-k, and the scores of pairs."""

import numpy as np
import pytest

from twotower_jax.errors import InputError
from twotower_jax.evaluation import retrieve, scorers
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.scorers import BlockScores, Embeddings, SharedScores

QUERIES, ITEMS = 700, 1000  # more than one block, and enough items for groups


@pytest.fixture(scope="module")
def table():
    """Scores of small whole numbers, exact and full of ties."""
    rng = np.random.default_rng(0)
    left = rng.integers(-3, 4, (QUERIES, 3)).astype(np.float32)
    right = rng.integers(-3, 4, (ITEMS, 3)).astype(np.float32)
    return Embeddings(left, right), left @ right.T


def random_items(seed, number=20_000):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, QUERIES, number)
    return from_pairs(rows, rng.integers(0, ITEMS, number), QUERIES)


@pytest.mark.parametrize("seen", [None, random_items(1)], ids=["all", "masked"])
@pytest.mark.parametrize("k", [1, 20, 900])
def test_blocks_give_the_lists_of_embeddings(table, seen, k):
    embedded, scores = table
    blocks = BlockScores(lambda part: scores[part].copy(), QUERIES, ITEMS)
    for ours, theirs in zip(
        blocks.top_k(k, seen), embedded.top_k(k, seen), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("seen", [None, random_items(1)], ids=["all", "masked"])
@pytest.mark.parametrize("cells", [1, 2**22])
def test_shared_scores_give_the_lists_of_embeddings(seen, cells, monkeypatch):
    monkeypatch.setattr(scorers, "BLOCK", cells)
    counts = np.random.default_rng(2).integers(0, 9, ITEMS).astype(np.float32)
    embedded = Embeddings(np.ones((QUERIES, 1), np.float32), counts[:, None])
    for k in (1, 20, ITEMS):
        ours = SharedScores(counts, QUERIES).top_k(k, seen)
        for mine, theirs in zip(ours, embedded.top_k(k, seen), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype


def test_a_query_that_has_seen_everything_has_an_empty_list():
    every = from_pairs(np.zeros(3, int), np.arange(3), 2)
    scores, items = SharedScores(np.arange(3.0), 2).top_k(2, every)
    assert items.tolist() == [[-1, -1], [2, 1]]
    assert scores.tolist() == [[-np.inf, -np.inf], [2.0, 1.0]]


def test_scores_of_pairs(table):
    embedded, scores = table
    pairs = random_items(3)
    expected = scores[pairs.rows, pairs.items]
    blocks = BlockScores(lambda part: scores[part], QUERIES, ITEMS)
    np.testing.assert_array_equal(embedded.of_pairs(pairs), expected)
    np.testing.assert_array_equal(blocks.of_pairs(pairs), expected)
    shared = SharedScores(scores[0], QUERIES)
    np.testing.assert_array_equal(shared.of_pairs(pairs), scores[0][pairs.items])
    none = Ragged(np.zeros(QUERIES + 1, np.int64), np.zeros(0, np.int32))
    assert blocks.of_pairs(none).shape == (0,)


def test_blocks_shrink_with_the_catalogue(table, monkeypatch):
    _, scores = table
    monkeypatch.setattr(retrieve, "MAX_SCORES", 5 * 1008)
    sizes = []

    def score(part):
        sizes.append(part.stop - part.start)
        return scores[part]

    whole = BlockScores(lambda part: scores[part], QUERIES, ITEMS).top_k(20, None)
    parts = BlockScores(score, QUERIES, ITEMS).top_k(20, None)
    assert max(sizes) == 5 and sum(sizes) == QUERIES
    np.testing.assert_array_equal(parts[1], whole[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    scores = np.full((2, 5), bad, np.float32)
    with pytest.raises(ValueError, match="scores must be finite"):
        BlockScores(lambda part: scores[part], 2, 5).top_k(2, None)
    with pytest.raises(InputError, match="k=6"):
        BlockScores(lambda part: scores[part], 2, 5).top_k(6, None)
