"""Queries/s of exact top-k with masked items: top_k against plainer ways.

    python benchmarks/retrieval.py [--items 100000 1000000] [--queries 4096] [--k 100]

Every method scores the whole catalogue, leaves out 50 masked items of each query and
returns the k best; a method that returns other items than `top_k` is reported. The
methods take turns in one process, so that load from elsewhere meets all of them, and
the best round counts. faiss joins when it is installed; it cannot mask, so it fetches
k + 50 and filters.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from peers.faiss_flat import DIM, MASKED, vectors
from peers.faiss_flat import search as faiss_search

from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.retrieve import top_k


def numpy_search(queries, candidates, masked, k, block=256):
    """Score, mask, argpartition and sort, in blocks."""
    found = []
    for first in range(0, len(queries), block):
        part = masked[first : first + block]
        scores = queries[first : first + block] @ candidates.T
        np.put_along_axis(scores, part, -np.inf, axis=1)
        items = np.argpartition(-scores, k, axis=1)[:, :k]
        best = np.take_along_axis(scores, items, axis=1)
        found.append(np.take_along_axis(items, np.argsort(-best, axis=1), axis=1))
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames="k")
def plain_block(queries, columns, masked, k):
    rows = jnp.arange(len(queries))[:, None]
    scores = (queries @ columns).at[rows, masked].set(-jnp.inf)
    return jax.lax.top_k(scores, k)[1]


def plain_search(queries, columns, masked, k):
    """lax.top_k over all scores, in blocks of the size that suited it best."""
    block = 128 if columns.shape[1] > 200_000 else 512
    blocks = [slice(i, i + block) for i in range(0, len(queries), block)]
    found = [plain_block(queries[b], columns, masked[b], k) for b in blocks]
    return np.concatenate([np.asarray(x) for x in found])


def make_methods(queries, candidates, masked, k) -> dict[str, Callable]:
    number = len(queries)
    seen = from_pairs(np.repeat(np.arange(number), MASKED), masked.ravel(), number)
    columns = jnp.asarray(candidates).T.copy()
    table = jnp.asarray(candidates)
    few = queries[: max(256, number // 8)]
    methods = {
        "top_k": (queries, lambda q: top_k(q, table, k, seen=seen)[1]),
        "lax.top_k": (queries, lambda q: plain_search(q, columns, masked, k)),
        "numpy": (few, lambda q: numpy_search(q, candidates, masked[: len(q)], k)),
    }
    try:
        import faiss
    except ImportError:
        return methods
    index = faiss.IndexFlatIP(DIM)
    index.add(candidates)
    methods["faiss"] = (queries, lambda q: faiss_search(index, q, masked, k))
    return methods


def measure(num_items: int, num_queries: int, k: int, rounds: int) -> None:
    queries, candidates, masked = vectors(num_items, num_queries)
    methods = make_methods(queries, candidates, masked, k)
    reference = methods["top_k"][1](queries)  # Warms up, too.
    wall = dict.fromkeys(methods, np.inf)
    cpu = dict.fromkeys(methods, np.inf)
    same = {}
    for turn in range(rounds + 1):
        for name, (given, search) in methods.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            items = search(given)
            seconds = time.perf_counter() - start
            seconds_cpu = time.process_time() - start_cpu
            if turn:  # The first round compiles.
                wall[name] = min(wall[name], seconds / len(given))
                cpu[name] = min(cpu[name], seconds_cpu / len(given))
            same[name] = float((items == reference[: len(given)]).mean())
    print(f"\n{num_items} items x {DIM}, k={k}, {MASKED} masked, {num_queries} queries")
    print("method       queries/s  us of CPU/query  top_k is x times  same items")
    for name in methods:
        ratio = wall[name] / wall["top_k"]
        print(
            f"{name:<11}{1 / wall[name]:>11.0f}{1e6 * cpu[name]:>17.0f}"
            f"{ratio:>18.2f}{same[name]:>12.4%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    for num_items in args.items:
        fewer = 1 if num_items <= 200_000 else 4
        measure(num_items, args.queries // fewer, args.k, args.rounds)


if __name__ == "__main__":
    main()
