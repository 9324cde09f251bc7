"""Items that are added and removed: lists equal those of a search item by item."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.export.index import INDEXES, build_index
from twotower_jax.export.items import ItemIndex

SEARCHES = ["exact", "faiss", "usearch"]
DIM = 6


def make(search, number=400):
    """Return an index of random vectors and {id: vector} of the same."""
    vectors = np.random.default_rng(0).normal(size=(number, DIM)).astype(np.float32)
    ids = pl.Series("item", [f"i{n}" for n in range(number)])
    index = ItemIndex(ids, vectors, removed=[], normalised=False)
    if search != "exact":
        pytest.importorskip(search, reason=f"the extra {search} is not installed")
        graph = build_index(search, vectors)
        index.use_graph(search, lambda: graph)
    return index, dict(zip(ids, vectors, strict=True))


def best(items, query, k, seen=()):
    scores = {name: vector @ query for name, vector in items.items()}
    left = [name for name in scores if name not in seen]
    return sorted(left, key=lambda name: -scores[name])[:k]


@pytest.mark.parametrize("search", SEARCHES)
def test_lists_follow_every_change(search):
    """Two thirds of the items leave, new ones come, and some come back changed."""
    index, items = make(search)
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(5, DIM)).astype(np.float32)
    graph = None if search == "exact" else index.graph()
    for day in range(4):
        gone = rng.permutation(list(items))[: len(items) // 3].tolist()
        index.remove(gone)
        lost = {name: items.pop(name) for name in gone}
        come = [f"new{day}-{n}" for n in range(30)] + gone[:10]
        vectors = rng.normal(size=(len(come), DIM)).astype(np.float32)
        index.add(come, vectors)
        items |= dict(zip(come, vectors, strict=True))
        assert len(index) == len(items) and not set(gone[10:]) & set(items)
        assert len(lost) == len(gone)
        k, seen = 12, best(items, queries[0], 3)
        masked = from_pairs(np.zeros(3), index.codes(seen), len(queries))
        ask = index.exact if search == "exact" else index.approximate
        for mask, hidden in ((None, ()), (masked, seen)):
            scores, codes = ask(queries, k, mask)
            for row, query in enumerate(queries):
                expected = best(items, query, k, hidden if row == 0 else ())
                assert index.ids.gather(codes[row]).to_list() == expected
                exact = [items[name] @ query for name in expected]
                np.testing.assert_allclose(scores[row], exact, rtol=1e-5, atol=1e-6)
    assert graph is None or graph is index.graph()
    if graph is not None:
        assert INDEXES[search].shape(graph) == (len(items), DIM)


@pytest.mark.parametrize("search", SEARCHES[1:])
def test_a_changed_index_is_the_same_after_writing_and_reading(search, tmp_path):
    index, _ = make(search)
    queries = index.vectors[:9]
    index.remove(index.ids[:150])
    index.add(["a", "i3"], queries[:2])
    use, path = INDEXES[search], str(tmp_path / "items")
    use.write(index.graph(), path)
    again = use.read(path)
    assert use.shape(again) == (252, DIM)
    first, second = (use.search(one, queries, 20) for one in (index.graph(), again))
    np.testing.assert_array_equal(first, second)
    assert not set(range(150)) - {3} & set(second.ravel().tolist())


@pytest.mark.parametrize("search", SEARCHES[1:])
def test_less_items_than_asked_for_are_filled_up(search):
    index, _ = make(search, number=12)
    found = INDEXES[search].search(index.graph(), index.vectors[:2], 15)
    assert [sorted(row) for row in found.tolist()] == [[-1] * 3 + list(range(12))] * 2


def change(index, items, vectors=None, rows=1):
    index.add(items, np.eye(rows, DIM) if vectors is None else vectors)


def test_what_does_not_fit_is_refused_and_nothing_changes():
    index, _ = make("exact", 20)
    index.remove(["i7"])
    index.normalised = True
    for ask, message in (
        (
            lambda: change(index, ["a"], np.ones((1, 9))),
            r"shape \[1, 9\], but 1 items of",
        ),
        (lambda: change(index, ["a", "b"]), r"dimension 6 need \[2, 6\]"),
        (lambda: change(index, ["a", "i3"], rows=2), "'i3' is in the index; remove it"),
        (lambda: change(index, ["a", "a"], rows=2), "'a' is given twice"),
        (lambda: change(index, ["a"], np.full((1, DIM), np.nan)), "NaN or infinity"),
        (lambda: change(index, ["a"], np.ones((1, DIM))), "'a' has length 2.449, but"),
        (lambda: change(index, "a"), "'a' is one id; give a list"),
        (lambda: change(index, [None]), "None is no id of type String"),
        (lambda: index.remove(["i1", "x"]), "'x' is not in the index; leave it out"),
        (lambda: index.remove(["i7"]), "'i7' is not in the index"),
        (lambda: index.remove(["i1", "i1"]), "'i1' is given twice"),
        (
            lambda: index.remove([i for i in index.ids if i != "i7"]),
            "has all 19 items of the index; keep at least one",
        ),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    assert len(index) == 19 and len(index.ids) == 20
    change(index, ["i7"])
    assert len(index) == 20 and index.codes(["i7"]).tolist() == [7]


def test_ids_keep_the_type_of_the_log():
    index = ItemIndex(pl.Series("item", [4, 9]), np.eye(2, DIM), [], True)
    change(index, ["12"])
    assert index.ids.to_list() == [4, 9, 12]
    for item in ("x", 7.5):
        with pytest.raises(InputError, match=f"{item!r} is no id of type Int64"):
            change(index, [item])
