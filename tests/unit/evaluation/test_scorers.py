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
    monkeypatch.setattr(retrieve, "MAX_HOST_SCORES", 5 * ITEMS + 7)
    sizes = []

    def score(part):
        sizes.append(part.stop - part.start)
        return scores[part]

    whole = BlockScores(lambda part: scores[part], QUERIES, ITEMS).top_k(20, None)
    parts = BlockScores(score, QUERIES, ITEMS).top_k(20, None)
    assert max(sizes) == 5 and sum(sizes) == QUERIES
    np.testing.assert_array_equal(parts[1], whole[1])


def sorted_lists(scores, seen, k):
    """Return scores and items of each list, by a sort of the whole catalogue."""
    scores = scores.copy()
    scores[seen.rows, seen.items] = -np.inf
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, items, axis=1)
    return best, np.where(best == -np.inf, -1, items)


@pytest.mark.parametrize("most", [1, 5 * ITEMS, 2**18])
@pytest.mark.parametrize("k", [1, 20, 31, 32, 700, ITEMS])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_are_mostly_zero_give_sorted_lists(most, k, sign, monkeypatch):
    """As of item-kNN: few scores are not 0, some of them equal; some lists are short.

    Below and above 0, where the zeros end or begin a list; -0.0 is 0. A query without
    any score and one that has seen all but three items are among them.
    """
    monkeypatch.setattr(retrieve, "MAX_HOST_SCORES", most)
    rng = np.random.default_rng(4)
    scores = rng.integers(1, 9, (QUERIES, ITEMS)).astype(np.float32)
    scores *= rng.random(scores.shape) < rng.choice([0.002, 0.02, 0.3], (QUERIES, 1))
    scores[7] = 0
    scores *= sign  # the zeros are -0.0 where it is -1
    rows = np.concatenate([rng.integers(0, QUERIES, 20_000), np.full(ITEMS - 3, 9)])
    seen = rng.integers(0, ITEMS, 20_000), np.delete(np.arange(ITEMS), [0, 500, 999])
    seen = from_pairs(rows, np.concatenate(seen), QUERIES)
    before = scores.copy()
    blocks = BlockScores(lambda part: scores[part], QUERIES, ITEMS)
    best, items = blocks.top_k(k, seen)
    expected, expected_items = sorted_lists(scores, seen, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(best, expected)
    assert not np.signbit(best[best == 0]).any()
    np.testing.assert_array_equal(scores, before)
    if k > 3:
        assert (items[9] >= 0).sum() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    scores = np.ones((2, 5), np.float32)
    scores[1, 3] = bad
    with pytest.raises(ValueError, match="scores must be finite"):
        BlockScores(lambda part: scores[part], 2, 5).top_k(2, None)
    with pytest.raises(InputError, match="k=6"):
        BlockScores(lambda part: scores[part], 2, 5).top_k(6, None)
