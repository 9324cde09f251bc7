"""An approximate index of the item vectors, by faiss or usearch, and its recall.

Its keys are rows of the item vectors; similarity is the inner product.
"""

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


class IndexLibrary(NamedTuple):
    """A library of approximate search.

    Attributes:
      load: imports the library; InputError where it is not installed.
      build: vectors [items, dim] float32 -> index.
      write: (index, path) -> None.
      read: path -> index.
      shape: index -> (items, dim).
      search: (index, queries [n, dim], k) -> rows [n, k], best first, -1 where fewer
        were found.
    """

    load: Callable[[], Any]
    build: Callable[[np.ndarray], Any]
    write: Callable[[Any, str], None]
    read: Callable[[str], Any]
    shape: Callable[[Any], tuple[int, int]]
    search: Callable[[Any, np.ndarray, int], np.ndarray]


def _load(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = module.partition(".")[0]
        raise InputError(
            f"--index {extra} needs the package {package} ({error}); install the "
            f"extra: pip install 'twotower-jax[{extra}]'"
        ) from None


def _faiss() -> Any:
    return _load("faiss", "faiss-cpu")


def _usearch() -> Any:
    return _load("usearch.index", "usearch")


def _build_faiss(vectors: np.ndarray) -> Any:
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = ADDING, SEARCHING
    graph.add(vectors)
    return graph


def _build_usearch(vectors: np.ndarray) -> Any:
    index = _usearch().Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=LINKS,
        expansion_add=ADDING,
        expansion_search=SEARCHING,
    )
    index.add(np.arange(len(vectors)), vectors)
    return index


def _read_usearch(path: str) -> Any:
    index = _usearch().Index.restore(path)
    if index is None:
        raise ValueError("not an index")
    # Not part of the file.
    index.expansion_add, index.expansion_search = ADDING, SEARCHING
    return index


def _search_usearch(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Search query by query: of several, places that were not found have key 0."""
    rows = np.full((len(queries), k), -1, np.int64)
    for row, query in zip(rows, queries, strict=True):
        keys = index.search(query, k).keys
        row[: len(keys)] = keys
    return rows


INDEXES: Registry[IndexLibrary] = Registry(
    "--index",
    {
        "faiss": IndexLibrary(
            load=_faiss,
            build=_build_faiss,
            write=lambda index, path: _faiss().write_index(index, path),
            read=lambda path: _faiss().read_index(path),
            shape=lambda index: (index.ntotal, index.d),
            search=lambda index, queries, k: index.search(queries, k)[1],
        ),
        "usearch": IndexLibrary(
            load=_usearch,
            build=_build_usearch,
            write=lambda index, path: index.save(path),
            read=_read_usearch,
            shape=lambda index: (len(index), index.ndim),
            search=_search_usearch,
        ),
    },
)


def write_index(
    library: str, path: Path, vectors: np.ndarray, queries: np.ndarray
) -> dict[str, Any]:
    """Write an index of vectors, read it, and compare its lists with the exact ones.

    Returns:
      The entry of the manifest: ``recall`` is the share of the exact best ``k`` items
      that the index finds, averaged over the queries, and ``milliseconds`` the mean
      time of one query, searched alone.
    """
    use = INDEXES[library]
    use.write(use.build(np.ascontiguousarray(vectors)), str(path))
    written, k = use.read(str(path)), min(RECALL_AT, len(vectors))
    exact = top_k(queries, vectors, k)[1]
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
    """Index of a file, refused where it holds vectors of another shape."""
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
