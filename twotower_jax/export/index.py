"""An approximate index of the item vectors, by faiss or usearch, and its recall."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.registry import Registry

# Of the graph (HNSW): links per item, and candidates while adding and searching.
LINKS, ADDING, SEARCHING = 32, 200, 200
RECALL_AT = 100


class Items(NamedTuple):
    """The vectors of some items.

    Attributes:
      codes: [items] int64, ascending.
      vectors: [items, dim] float32.
    """

    codes: np.ndarray
    vectors: np.ndarray


class IndexLibrary(NamedTuple):
    """A library of approximate search by inner product.

    Attributes:
      load: imports the library; InputError where it is not installed.
      new: dim -> empty index.
      write: (index, path) -> None.
      read: path -> index.
      shape: index -> (items, dim); removed items do not count.
      add: (index, item codes [n] int64, vectors [n, dim] float32) -> None.
      remove: (index, item codes [n] int64) -> None.
      search: (index, queries [n, dim], k) -> item codes [n, k], best first, -1 where
        fewer were found.
    """

    load: Callable[[], Any]
    new: Callable[[int], Any]
    write: Callable[[Any, str], None]
    read: Callable[[str], Any]
    shape: Callable[[Any], tuple[int, int]]
    add: Callable[[Any, np.ndarray, np.ndarray], None]
    remove: Callable[[Any, np.ndarray], None]
    search: Callable[[Any, np.ndarray, int], np.ndarray]


def _faiss() -> Any:
    return _load("faiss", "faiss-cpu")


def _usearch() -> Any:
    return _load("usearch.index", "usearch")


def _load(module: str, package: str) -> Any:
    """Return a module of an extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = module.partition(".")[0]
        raise InputError(
            f"--index {extra} needs the package {package} ({error}); install the "
            f"extra: pip install 'twotower-jax[{extra}]'"
        ) from None


def _new_faiss(dim: int) -> Any:
    """Return a graph (HNSW) of places, and a map from place to code."""
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = ADDING, SEARCHING
    return faiss.IndexIDMap(graph)


def _codes_faiss(index: Any) -> np.ndarray:
    """Return the code [places] of each place of the graph, -1 for a removed item."""
    if not hasattr(index, "id_map"):  # an index that somebody else built
        return np.arange(index.ntotal)
    return _faiss().vector_to_array(index.id_map)


def _remove_faiss(index: Any, codes: np.ndarray) -> None:
    """Set the codes of places to -1: the graph of faiss cannot lose a place."""
    places = _codes_faiss(index)
    places[np.isin(places, codes)] = -1
    _faiss().copy_array_to_vector(places, index.id_map)


def _search_faiss(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Search among the places that were not removed.

    The graph walks through removed places too, so its candidates are as many more as
    it has places per item.
    """
    faiss, codes = _faiss(), _codes_faiss(index)
    if not hasattr(index, "id_map"):
        return index.search(queries, k)[1]
    kept = codes >= 0
    candidates = int(np.ceil(max(SEARCHING, k) * len(codes) / kept.sum()))
    bits = np.packbits(kept, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)
    settings = faiss.SearchParametersHNSW(sel=selector, efSearch=candidates)
    places = index.index.search(queries, k, params=settings)[1]
    return np.where(places >= 0, codes[places], -1)


def _new_usearch(dim: int) -> Any:
    return _usearch().Index(
        ndim=dim,
        metric="ip",
        dtype="f32",
        connectivity=LINKS,
        expansion_add=ADDING,
        expansion_search=SEARCHING,
    )


def _read_usearch(path: str) -> Any:
    index = _usearch().Index.restore(path)
    if index is None:
        raise ValueError("not an index")
    # Not part of the file.
    index.expansion_add, index.expansion_search = ADDING, SEARCHING
    return index


def _search_usearch(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Search; the keys of places that were not found are 0 in the result of usearch."""
    out = np.full((len(queries), k), -1, np.int64)
    for row, query in enumerate(queries):
        found = index.search(query, k).keys
        out[row, : len(found)] = found
    return out


INDEXES: Registry[IndexLibrary] = Registry(
    "--index",
    {
        "faiss": IndexLibrary(
            load=_faiss,
            new=_new_faiss,
            write=lambda index, path: _faiss().write_index(index, path),
            read=lambda path: _faiss().read_index(path),
            shape=lambda index: (int((_codes_faiss(index) >= 0).sum()), index.d),
            add=lambda index, codes, vectors: index.add_with_ids(vectors, codes),
            remove=_remove_faiss,
            search=_search_faiss,
        ),
        "usearch": IndexLibrary(
            load=_usearch,
            new=_new_usearch,
            write=lambda index, path: index.save(path),
            read=_read_usearch,
            shape=lambda index: (len(index), index.ndim),
            add=lambda index, codes, vectors: index.add(codes, vectors),
            remove=lambda index, codes: index.remove(codes),
            search=_search_usearch,
        ),
    },
)


def build_index(library: str, vectors: np.ndarray) -> Any:
    """Index of vectors, whose keys are item codes."""
    use = INDEXES[library]
    use.load()
    index = use.new(vectors.shape[1])
    use.add(index, np.arange(len(vectors)), np.ascontiguousarray(vectors))
    return index


def write_index(
    library: str, path: Path, index: Any, items: Items, queries: np.ndarray
) -> dict[str, Any]:
    """Write an index, read it, and compare its lists with the exact ones.

    Returns:
      The entry of the manifest: ``recall`` is the share of the exact best ``k`` items
      that the index finds, averaged over the queries, and ``milliseconds`` the mean
      time of one query, searched alone.
    """
    use = INDEXES[library]
    use.write(index, str(path))
    written, k = use.read(str(path)), min(RECALL_AT, len(items.codes))
    exact = items.codes[top_k(queries, items.vectors, k)[1]]
    use.search(written, queries[:1], k)  # the first search allocates
    start = time.perf_counter()
    near = np.concatenate(
        [use.search(written, queries[i : i + 1], k) for i in range(len(queries))]
    )
    seconds = time.perf_counter() - start
    hits = [len(np.intersect1d(a, b)) for a, b in zip(exact, near, strict=True)]
    return {
        "library": library,
        "file": path.name,
        "k": k,
        "recall": float(np.mean(hits)) / k,
        "queries": len(queries),
        "milliseconds": 1000 * seconds / len(queries),
    }


def read_index(library: str, path: Path, shape: tuple[int, int]) -> Any:
    """Index of a file, whose keys are item codes."""
    use = INDEXES[library]
    use.load()
    try:
        index = use.read(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as an index of {library}: {error}"
        ) from None
    items, dim = use.shape(index)
    if (items, dim) != shape:
        raise InputError(
            f"{path} holds {items} vectors of dimension {dim}, the model has "
            f"{shape[0]} of dimension {shape[1]}; build the index from "
            "item_vectors.npy of this model"
        )
    return index
