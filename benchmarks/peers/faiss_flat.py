"""Seconds of exact top-k with masked items by faiss: `python faiss_flat.py JOB`.

JOB is JSON with `items`, `queries`, `k`, and `file`, to which the items found
are written. It needs numpy and faiss, and nothing of this package.
"""

import json
import sys
import time

import numpy as np

DIM, MASKED, SEED = 64, 50, 0


def vectors(items: int, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return queries [Q, DIM], candidates [I, DIM] and masked items [Q, MASKED]."""
    rng = np.random.default_rng(SEED)
    query = rng.standard_normal((queries, DIM), dtype=np.float32)
    candidate = rng.standard_normal((items, DIM), dtype=np.float32)
    masked = rng.integers(0, items, (queries, MASKED)).astype(np.int32)
    return query, candidate, masked


def search(index, queries: np.ndarray, masked: np.ndarray, k: int) -> np.ndarray:
    """Fetch as many more items as are masked, then drop those."""
    _, items = index.search(queries, k + masked.shape[1])
    base = np.arange(len(items))[:, None] * np.int64(index.ntotal)
    bad = np.isin(base + items, base + masked).reshape(items.shape)
    order = np.argsort(bad, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(items, order, axis=1)


def main() -> None:
    import faiss

    job = json.loads(sys.argv[1])
    queries, candidates, masked = vectors(job["items"], job["queries"])
    index = faiss.IndexFlatIP(DIM)
    index.add(candidates)
    search(index, queries, masked, job["k"])
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = search(index, queries, masked, job["k"])
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    np.save(job["file"], found)
    print(json.dumps({"seconds": seconds, "cpu": {"seconds": cpu}}))


if __name__ == "__main__":
    main()
