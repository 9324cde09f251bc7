import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower_jax.errors import InputError
from twotower_jax.evaluation import retrieve
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.retrieve import top_k


def oracle(queries, candidates, k, seen=None):
    """Sort all scores by (score descending, item ascending)."""
    scores = queries @ candidates.T
    items = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    if seen is not None:
        scores[seen.rows, seen.items] = -np.inf
    order = np.lexsort((items, -scores), axis=1)[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return best, np.where(best == -np.inf, -1, order)


def whole_numbers(rng, shape, largest):
    """Whole numbers as float32: products are exact, and full of ties."""
    return rng.integers(-largest, largest + 1, shape).astype(np.float32)


def random_seen(rng, num_queries, num_items, number):
    rows = rng.integers(0, num_queries, number)
    return from_pairs(rows, rng.integers(0, num_items, number), num_queries)


def assert_equals_oracle(queries, candidates, k, seen=None, **kwargs):
    scores, items = top_k(queries, candidates, k, seen=seen, **kwargs)
    expected_scores, expected_items = oracle(queries, candidates, k, seen)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(scores, expected_scores)
    assert scores.dtype == np.float32 and items.dtype == np.int32
    assert scores.shape == items.shape == (len(queries), k)


def test_by_hand():
    queries = np.array([[1, 0], [0, 2]], np.float32)
    candidates = np.array([[1, 3], [2, 1], [2, 5]], np.float32)
    scores, items = top_k(queries, candidates, 2)
    assert items.tolist() == [[1, 2], [2, 0]]
    assert scores.tolist() == [[2.0, 2.0], [10.0, 6.0]]


def test_masked_items_by_hand():
    queries = np.array([[1, 0], [0, 2]], np.float32)
    candidates = np.array([[1, 3], [2, 1], [2, 5]], np.float32)
    seen = from_pairs(np.array([0, 1, 1]), np.array([1, 0, 2]), 2)
    scores, items = top_k(queries, candidates, 3, seen=seen)
    assert items.tolist() == [[2, 0, -1], [1, -1, -1]]
    assert scores.tolist() == [[2.0, 1.0, -np.inf], [2.0, -np.inf, -np.inf]]


@pytest.mark.parametrize("num_items", [641, 655, 656, 657, 1000, 5000])
@pytest.mark.parametrize("largest", [0, 1, 2])
def test_ties_go_to_the_lower_item(num_items, largest):
    # k = 20 uses groups from 641 items on; some sizes fill the last group, some leave
    # one item in it. largest = 0 ties everything.
    rng = np.random.default_rng(num_items + largest)
    assert retrieve._grouped(num_items, 20)
    queries = whole_numbers(rng, (37, 3), largest)
    candidates = whole_numbers(rng, (num_items, 3), largest)
    assert_equals_oracle(queries, candidates, 20, block=16)
    seen = random_seen(rng, 37, num_items, 37 * num_items // 3)
    assert_equals_oracle(queries, candidates, 20, seen, block=16)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.sampled_from([5, 96, 97, 112, 300]),
    k=st.integers(1, 5),
    block=st.sampled_from([1, 7, 64]),
    share=st.sampled_from([0.0, 0.05, 0.9, 1.0]),
)
def test_equals_the_oracle(seed, num_items, k, block, share):
    rng = np.random.default_rng(seed)
    num_queries = 23
    queries = whole_numbers(rng, (num_queries, 2), 2)
    candidates = whole_numbers(rng, (num_items, 2), 2)
    rows, items = np.nonzero(rng.random((num_queries, num_items)) < share)
    seen = from_pairs(rows, items, num_queries)
    assert_equals_oracle(queries, candidates, k, seen, block=block)


@pytest.mark.parametrize("num_queries", [1, 2, 33])
@pytest.mark.parametrize(("num_items", "dim"), [(31, 8), (63, 17), (250, 16)])
def test_items_of_equal_vectors_keep_their_order(num_queries, num_items, dim):
    # Ten vectors, each of many items: their numbers have no exact products, so that
    # every sum has to be rounded in the same way in all columns.
    rng = np.random.default_rng(num_items)
    distinct = rng.standard_normal((10, dim), dtype=np.float32)
    queries = rng.standard_normal((num_queries, dim), dtype=np.float32)
    which = rng.integers(0, 10, num_items)
    scores = np.einsum("qd,nd->qn", queries, distinct)[:, which]
    expected = np.argsort(-scores, axis=1, kind="stable")
    for k in (3, num_items):
        for block in (1, 256):
            _, items = top_k(queries, distinct[which], k, block=block)
            np.testing.assert_array_equal(items, expected[:, :k])


def test_zero_of_either_sign_ties():
    # -1 * 0.0 is -0.0, which lax.top_k puts after 0.0.
    candidates = np.tile(np.array([[0.0], [-0.0]], np.float32), (100, 1))
    for k in (3, 150):
        scores, items = top_k(np.array([[-1.0]], np.float32), candidates, k)
        assert items.tolist() == [list(range(k))]
        assert not np.signbit(scores).any()
    # Whole groups of -0.0 before whole groups of 0.0.
    candidates = np.repeat(np.array([0.0, -0.0], np.float32), 160)[:, None]
    _, items = top_k(np.array([[-1.0]], np.float32), candidates, 3)
    assert items.tolist() == [[0, 1, 2]]


def test_the_best_item_of_all_in_a_masked_group():
    # The whole best group is masked: its maximum must not keep a place.
    candidates = np.arange(400, 0, -1, dtype=np.float32)[:, None]
    seen = from_pairs(np.zeros(32, int), np.arange(32), 1)
    _, items = top_k(np.ones((1, 1), np.float32), candidates, 3, seen=seen)
    assert items.tolist() == [[32, 33, 34]]


def test_padding_never_appears():
    # All scores are negative, and padding columns are zero before they are masked.
    rng = np.random.default_rng(0)
    candidates = -1 - rng.integers(0, 3, (161, 1)).astype(np.float32)
    assert_equals_oracle(np.ones((5, 1), np.float32), candidates, 5, block=4)
    # The five best are in five groups, none of them the last: a maximum of zero from
    # the padding there would take the place of one.
    candidates[:] = -9
    candidates[16:96:16] = -1
    _, items = top_k(np.ones((1, 1), np.float32), candidates, 5)
    assert items.tolist() == [[16, 32, 48, 64, 80]]
    only_last = from_pairs(np.zeros(160, int), np.arange(160), 1)
    _, items = top_k(np.ones((1, 1), np.float32), candidates, 2, seen=only_last)
    assert items.tolist() == [[160, -1]]


def test_everything_masked():
    seen = from_pairs(np.repeat(np.arange(2), 300), np.tile(np.arange(300), 2), 2)
    scores, items = top_k(np.ones((2, 1)), np.ones((300, 1)), 4, seen=seen)
    assert (items == -1).all() and (scores == -np.inf).all()


def test_k_is_the_whole_catalogue():
    rng = np.random.default_rng(3)
    candidates = whole_numbers(rng, (50, 2), 3)
    assert_equals_oracle(whole_numbers(rng, (4, 2), 3), candidates, 50)


def test_takes_jax_arrays_and_other_floats():
    rng = np.random.default_rng(4)
    queries, candidates = whole_numbers(rng, (3, 2), 4), whole_numbers(rng, (300, 2), 4)
    expected = top_k(queries, candidates, 5)
    for cast in (jnp.asarray, np.float64, lambda x: jnp.asarray(x, jnp.bfloat16)):
        found = top_k(cast(queries), cast(candidates), 5)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


def test_no_queries():
    scores, items = top_k(np.ones((0, 2)), np.ones((30, 2)), 4)
    assert scores.shape == items.shape == (0, 4)
    assert scores.dtype == np.float32 and items.dtype == np.int32


def test_does_not_change_with_the_block_or_the_number_of_threads(monkeypatch):
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((70, 8), dtype=np.float32)
    candidates = rng.standard_normal((1000, 8), dtype=np.float32)
    seen = random_seen(rng, 70, 1000, 900)
    expected = top_k(queries, candidates, 10, seen=seen)
    for block in (1, 9, 70, 4096):
        found = top_k(queries, candidates, 10, seen=seen, block=block)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for threads in (1, 2, 2, 2):
        monkeypatch.setattr(retrieve, "_workers", lambda n=threads: n)
        again = top_k(queries, candidates, 10, seen=seen, block=8)
        np.testing.assert_array_equal(again[1], expected[1])


def test_the_same_call_gives_the_same_bits():
    rng = np.random.default_rng(6)
    queries = rng.standard_normal((300, 16), dtype=np.float32)
    candidates = rng.standard_normal((2000, 16), dtype=np.float32)
    first, second = (top_k(queries, candidates, 20, block=32) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    assert first[0].tobytes() == second[0].tobytes()


def test_other_data_of_the_same_shape_does_not_compile_again():
    rng = np.random.default_rng(7)

    def call(number):
        queries = rng.standard_normal((130, 4), dtype=np.float32)
        candidates = rng.standard_normal((900, 4), dtype=np.float32)
        seen = random_seen(rng, 130, 900, number)
        top_k(queries, candidates, 6, seen=seen, block=16)

    call(130 * 5)
    before = retrieve._search._cache_size()
    call(130 * 5 + 1)
    call(130 * 5 - 7)
    assert retrieve._search._cache_size() == before
    call(130 * 50)
    assert retrieve._search._cache_size() == before + 1


def test_the_block_shrinks_to_bound_memory(monkeypatch):
    shapes = []
    search = retrieve._search

    def spy(queries, table, *args, **kwargs):
        shapes.append((queries.shape[1], table.shape[0]))
        return search(queries, table, *args, **kwargs)

    monkeypatch.setattr(retrieve, "_search", spy)
    monkeypatch.setattr(retrieve, "MAX_SCORES", 8 * 512)
    rng = np.random.default_rng(8)
    queries, candidates = (
        whole_numbers(rng, (50, 3), 3),
        whole_numbers(rng, (510, 3), 3),
    )
    assert_equals_oracle(queries, candidates, 7)
    assert set(shapes) == {(8, 512)}


def test_two_threads_search_at_the_same_time_on_a_cpu(monkeypatch):
    assert jax.default_backend() == "cpu"
    monkeypatch.setattr(retrieve.os, "cpu_count", lambda: 2)
    both = threading.Barrier(2, timeout=60)
    search = retrieve._search

    def meet(*args, **kwargs):
        both.wait()
        return search(*args, **kwargs)

    monkeypatch.setattr(retrieve, "_search", meet)
    top_k(np.ones((16, 2)), np.ones((40, 2)), 2, block=8)
    assert not both.broken


@pytest.mark.parametrize("k", [0, -1, 31])
def test_k_out_of_range(k):
    with pytest.raises(InputError) as error:
        top_k(np.ones((2, 2)), np.ones((30, 2)), k)
    text = str(error.value)
    assert f"evaluation.k={k} " in text and "30" in text
    assert "set evaluation.k to at most 30" in text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_not_finite(bad):
    good, wrong = np.ones((30, 2), np.float32), np.ones((30, 2), np.float32)
    wrong[17, 1] = bad
    with pytest.raises(ValueError, match="queries must be finite"):
        top_k(wrong, good, 3)
    with pytest.raises(ValueError, match="candidates must be finite"):
        top_k(good, wrong, 3)


def test_scores_that_would_overflow():
    large = np.full((30, 2), 1e19, np.float32)
    with pytest.raises(ValueError, match=r"overflow float32.*1e\+19"):
        top_k(large, large * 10, 3)
    scores, _ = top_k(large, large, 3)
    np.testing.assert_allclose(scores, 2e38, rtol=1e-6)


@pytest.mark.parametrize(
    ("queries", "candidates", "kwargs", "text"),
    [
        ((2, 3), (30, 2), {}, r"differ in width: \(2, 3\) and \(30, 2\)"),
        ((3,), (30, 3), {}, r"must be matrices, got \(3,\) and \(30, 3\)"),
        ((2, 2), (30, 2), {"block": 0}, "block must be at least 1, got 0"),
        (
            (2, 2),
            (30, 2),
            {"seen": Ragged(np.array([0, 0]), np.array([], np.int32))},
            "seen has 1 rows for 2 queries",
        ),
        (
            (2, 2),
            (30, 2),
            {"seen": from_pairs(np.array([1]), np.array([30]), 2)},
            r"seen items must be in 0..29, got 30..30",
        ),
    ],
)
def test_arguments_that_do_not_fit(queries, candidates, kwargs, text):
    with pytest.raises(ValueError, match=text):
        top_k(np.ones(queries), np.ones(candidates), 3, **kwargs)


def test_from_pairs_groups_sorts_and_drops_repeats():
    ragged = from_pairs(np.array([2, 0, 2, 2]), np.array([5, 1, 3, 5]), 4)
    assert ragged.offsets.tolist() == [0, 1, 1, 3, 3]
    assert ragged.items.tolist() == [1, 3, 5]
    assert ragged.rows.tolist() == [0, 2, 2] and ragged.sizes.tolist() == [1, 0, 2, 0]
    assert ragged.offsets.dtype == np.int64 and ragged.items.dtype == np.int32


def test_from_pairs_without_pairs():
    ragged = from_pairs(np.array([], int), np.array([], int), 2)
    assert ragged.offsets.tolist() == [0, 0, 0] and ragged.num_rows == 2


@pytest.mark.parametrize(
    ("rows", "items", "text"),
    [
        ([0, 2], [1, 1], r"rows must be in 0..1, got 0..2"),
        ([-1], [1], r"rows must be in 0..1, got -1..-1"),
        ([0], [-1], "items must not be negative, got -1"),
        ([0], [1, 2], "differ in length: 1, 2"),
    ],
)
def test_from_pairs_refuses(rows, items, text):
    with pytest.raises(ValueError, match=text):
        from_pairs(np.array(rows), np.array(items), 2)
