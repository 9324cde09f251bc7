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


class IndexLibrary(NamedTuple):
    """A library of approximate search by inner product.

    Attributes:
      load: imports the library; InputError where it is not installed.
      build: item vectors [items, dim] float32 -> index, whose keys are item codes.
      write: (index, path) -> None.
      read: path -> index.
      shape: index -> (items, dim).
      search: (index, queries [n, dim], k) -> item codes [n, k], best first.
    """

    load: Callable[[], Any]
    build: Callable[[np.ndarray], Any]
    write: Callable[[Any, str], None]
    read: Callable[[str], Any]
    shape: Callable[[Any], tuple[int, int]]
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


def _build_faiss(vectors: np.ndarray) -> Any:
    faiss = _faiss()
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = ADDING, SEARCHING
    index.add(vectors)
    return index


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
    index.expansion_search = SEARCHING  # not part of the file
    return index


def _search_usearch(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    # One query gives one axis.
    return np.asarray(index.search(queries, k).keys).reshape(len(queries), k)


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
    library: str, path: Path, items: np.ndarray, queries: np.ndarray
) -> dict[str, Any]:
    """Build an index, write it, and compare its lists with the exact ones.

    Args:
      library: a name of INDEXES.
      path: of the index; its folder exists.
      items: [items, dim] float32, the vectors.
      queries: [n, dim] float32, at least one.

    Returns:
      The entry of the manifest: ``recall`` is the share of the exact best ``k`` items
      that the index finds, averaged over the queries, and ``milliseconds`` the mean
      time of one query, searched alone.
    """
    use = INDEXES[library]
    use.write(use.build(np.ascontiguousarray(items)), str(path))
    index, k = use.read(str(path)), min(RECALL_AT, len(items))
    exact = top_k(queries, items, k)[1]
    use.search(index, queries[:1], k)  # the first search allocates
    start = time.perf_counter()
    near = np.concatenate(
        [use.search(index, queries[i : i + 1], k) for i in range(len(queries))]
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
    """Index of a file, whose keys are item codes.

    Args:
      library: a name of INDEXES.
      path: of the index.
      shape: (items, dim) of the vectors that it has to hold.

    Returns:
      An index of faiss or usearch.

    Raises:
      InputError: when the library is not installed, or the file is missing, is not an
        index, or holds vectors of another number or dimension.
    """
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
