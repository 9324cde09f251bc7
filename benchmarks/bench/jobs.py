"""One job of this package in a process of its own: `python -m bench.jobs JOB`.

JOB is JSON: `kind`, a name of `JOBS`, and the arguments of its function. The last line
of the output is JSON.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.compiler import set_up

from .settings import Case

WARM_UP = 2  # dispatches before those that are timed
ROWS_OF_DISPATCH = 32_768  # at most, and no more than eight steps


def dispatch(case: Case) -> int:
    """Return the steps of a dispatch."""
    return max(1, min(8, ROWS_OF_DISPATCH // case.batch))


def train(case: list, file: str, seconds: float, merge: bool = True) -> dict[str, Any]:
    """Return the seconds per step, and the distinct items of a batch.

    `columns` are those of its positives, `history` those that its queries read. As in
    every job, the key "cpu" has the same in CPU seconds of all threads.

    Args:
      case: the values of a `Case`.
      file: its clicks, as `worlds.write_clicks` has them.
      seconds: for which steps are timed.
      merge: whether repeated items of a batch are merged.
    """
    from .worlds import histories, make_world

    given = Case(*case)
    world, number = make_world(given, Path(file), merge), dispatch(given)
    ends, warm = [time.perf_counter()], WARM_UP if given.batch < 10_000 else 1
    cpu = [time.process_time()]
    while len(ends) < warm + 3 or ends[-1] - ends[warm] < seconds:
        world.run(number)
        ends.append(time.perf_counter())
        cpu.append(time.process_time())
    batches = world.problem.order.batches(0, 4)
    with np.load(file) as arrays:
        user, item = arrays["user"] % given.users, arrays["item"]
    columns = np.mean([len(np.unique(item[rows])) for rows in batches])
    read = [np.unique(histories(user, item, given.history, one)) for one in batches]
    steps, cpu = ((np.diff(x[warm:]) / number).tolist() for x in (ends, cpu))
    return {
        "steps": steps,
        "columns": float(columns),
        "history": float(np.mean([(one >= 0).sum() for one in read])),
        "cpu": {"steps": cpu},
    }


def start(case: list, file: str) -> dict[str, Any]:
    """Return the time at which the first step of a training ends.

    Args:
      case: the values of a `Case`.
      file: its clicks.
    """
    from twotower_jax.training.step import run_steps

    from .worlds import make_world

    given = Case(*case)
    world = make_world(given, Path(file), merge=True)
    problem, one = world.problem, np.int32(1)
    rows = problem.order.batches(0, dispatch(given))
    _, losses = run_steps(problem.program, problem.data, world.state, rows, one)
    jax.block_until_ready(losses)
    cpu = {"first": time.process_time(), "started": 0.0}
    return {"first": time.time(), "cpu": cpu}


def evaluate(
    items: int, queries: int, k: int, file: str, plain: bool = False
) -> dict[str, Any]:
    """Return the seconds of a search of exact top-k with masked items.

    A search before it, which is not timed, compiles.

    Args:
      items, queries: numbers of both.
      k: items per query.
      file: to which the items that were found are written.
      plain: whether `jax.lax.top_k` searches, in place of this package.
    """
    from peers.faiss_flat import MASKED, vectors
    from retrieval import plain_search

    from twotower_jax.evaluation.ragged import from_pairs
    from twotower_jax.evaluation.retrieve import top_k

    query, candidate, masked = vectors(items, queries)
    rows = np.repeat(np.arange(queries), MASKED)
    seen, table = from_pairs(rows, masked.ravel(), queries), jnp.asarray(candidate)
    columns = table.T.copy() if plain else table

    def search() -> np.ndarray:
        if plain:
            return plain_search(query, columns, masked, k)
        return top_k(query, table, k, seen=seen)[1]

    search()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = search()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    np.save(file, found)
    return {"seconds": seconds, "cpu": {"seconds": cpu}}


def sequences(file: str, batch: int, steps: int, turns: int) -> dict[str, Any]:
    """Return the seconds per row of a sequence tower, of some turns.

    Args:
      file: npz of the positives `user` and `item`.
      batch: rows of a step.
      steps: of a turn.
      turns: number of turns.
    """
    from sequences import ARMS, Steps, problem_of
    from training import loaded

    with np.load(file) as arrays:
        user, item = arrays["user"], arrays["item"]
    data = loaded(user, item, int(user.max()) + 1, int(item.max()) + 1)
    problem = problem_of(data, ARMS["256 negatives per row"], batch)
    run = Steps(problem)
    rows = len(problem.data.item)
    seconds = [run.run(steps) * rows / batch for _ in range(turns)]
    return {"seconds": seconds}


def floors(size: int) -> dict[str, Any]:
    """Return the speeds of this machine at simple work, the best of some turns.

    Args:
      size: rows and columns of the matrices, and the square root of the numbers that
        are exponentiated or scaled.
    """
    x = jax.random.normal(jax.random.key(0), (size, size))
    # The exponentials stay in the caches; the scaled numbers do not.
    few, many = jnp.zeros(min(2**18, size**2)), jnp.zeros(4 * size**2)
    amounts = {
        "sgemm": 2.0 * size**3 / _best(lambda y: (y @ x) * (1 / size), x, 4),
        "exp": few.size / _best(lambda y: jnp.exp(y - 1), few, 200),
        "bandwidth": 8.0 * many.size / _best(lambda y: y * 0.999 + 1, many, 8),
    }
    wall, cpu = ({k: float(v[i]) for k, v in amounts.items()} for i in (0, 1))
    return {**wall, "cpu": cpu}


def _best(body: Any, state: jax.Array, repeats: int, turns: int = 7) -> np.ndarray:
    """Return the fewest seconds of one repetition of some work, wall and CPU."""

    @partial(jax.jit, donate_argnums=0)
    def run(state: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, y: body(y), state)

    state = jax.block_until_ready(run(jnp.copy(state)))
    seconds = []
    for _ in range(turns):
        begin = np.array([time.perf_counter(), time.process_time()])
        state = jax.block_until_ready(run(state))
        seconds.append([time.perf_counter(), time.process_time()] - begin)
    return np.min(seconds, axis=0) / repeats


JOBS = {
    "train": train,
    "start": start,
    "evaluate": evaluate,
    "sequences": sequences,
    "floors": floors,
}


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a job in this process."""
    arguments = {name: value for name, value in job.items() if name != "kind"}
    return JOBS[job["kind"]](**arguments)


if __name__ == "__main__":
    set_up()
    print(json.dumps(run_job(json.loads(sys.argv[1]))))
