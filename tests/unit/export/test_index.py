"""Indexes by faiss and usearch: recall, time, and files that do not fit."""

from typing import NamedTuple

import numpy as np
import pytest

from twotower_jax.errors import InputError
from twotower_jax.export.index import INDEXES, read_index, write_index

LIBRARIES = ["faiss", "usearch"]


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3000, 12)).astype(np.float32)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_recall_is_that_of_the_written_file(library, vectors, tmp_path):
    pytest.importorskip(library, reason=f"the extra {library} is not installed")
    queries, path = vectors[:50] + 0.1, tmp_path / "items.index"
    entry = write_index(library, path, vectors, queries)
    index = read_index(library, path, vectors.shape)
    near = INDEXES[library].search(index, queries, 100)
    exact = np.argsort(-queries @ vectors.T, axis=1)[:, :100]
    found = [len(set(a) & set(b)) / 100 for a, b in zip(near, exact, strict=True)]
    assert entry["recall"] == pytest.approx(np.mean(found), abs=1e-3)
    assert 0.9 < entry["recall"] <= 1 and entry["milliseconds"] > 0
    assert (entry["k"], entry["queries"], entry["file"]) == (100, 50, "items.index")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_catalogue_of_less_than_100_items_is_found_whole(library, vectors, tmp_path):
    pytest.importorskip(library, reason=f"the extra {library} is not installed")
    entry = write_index(library, tmp_path / "few", vectors[:9], vectors[:1])
    assert (entry["k"], entry["recall"]) == (9, 1.0)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3000, 64), "holds 3000 vectors of dimension 12, the model has 3000 of dim"),
        ((2999, 12), "holds 3000 vectors of dimension 12, the model has 2999 of dim"),
    ],
)
def test_an_index_of_other_vectors(library, vectors, tmp_path, shape, message):
    pytest.importorskip(library, reason=f"the extra {library} is not installed")
    path = tmp_path / "items.index"
    write_index(library, path, vectors, vectors[:2])
    with pytest.raises(InputError, match=message):
        read_index(library, path, shape)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_file_that_is_not_an_index(library, tmp_path):
    pytest.importorskip(library, reason=f"the extra {library} is not installed")
    (tmp_path / "words").write_text("You said so.")
    for name in ("words", "missing"):
        with pytest.raises(
            InputError, match=f"cannot be read as an index of {library}"
        ):
            read_index(library, tmp_path / name, (1, 1))


def test_an_unknown_library():
    with pytest.raises(InputError, match="choose one of: faiss, usearch"):
        INDEXES["annoy"].load()


class Plain(NamedTuple):
    """An index that is a file of vectors: what the checks do, without an extra."""

    vectors: np.ndarray


def test_an_index_of_another_dimension_is_refused_by_any_library(
    vectors, tmp_path, monkeypatch
):
    library = INDEXES["faiss"]._replace(
        load=lambda: None,
        read=lambda path: Plain(np.load(path)),
        shape=lambda index: index.vectors.shape,
    )
    monkeypatch.setitem(INDEXES, "faiss", library)
    path = tmp_path / "items.npy"
    np.save(path, vectors)
    assert read_index("faiss", path, (3000, 12)).vectors.shape == (3000, 12)
    with pytest.raises(InputError, match=r"dimension 12, .*dimension 64; build the"):
        read_index("faiss", path, (3000, 64))
