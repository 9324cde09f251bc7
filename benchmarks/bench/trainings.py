"""Measures of training: against peers, against the floors, and memory."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from .context import Bench
from .processes import Result, Task
from .rows import (
    Goal,
    Results,
    Row,
    at_least,
    at_most,
    better,
    rate,
    ratios,
    step,
    with_cpu,
)
from .settings import MILLION, Case
from .worlds import write_clicks

# Name in the table: environment, script and further keys of the job.
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "TFRS": ("tfrs", "tfrs_towers.py", {}),
    "torch": ("torch", "torch_towers.py", {}),
    "torch eager": ("torch", "torch_towers.py", {"compiled": False}),
    "keras-rs": ("keras_rs", "keras_rs_towers.py", {}),
}
BEST = "the better of TFRS and torch"
ARMS = {"merged": True, "every column": False}
GOALS: dict[tuple[str, str, int, int], Goal] = {
    ("merged", BEST, MILLION, 4096): at_least(3.0),
    ("every column", BEST, MILLION, 4096): at_least(2.1),
    ("merged", "keras-rs", MILLION, 4096): at_least(15),
    ("merged", "keras-rs", 4 * MILLION, 4096): at_least(40),
    ("every column", "floor", MILLION, 4096): at_most(1.12),
    ("merged", "floor", MILLION, 4096): at_most(1.25),
    ("merged", "floor", MILLION, 1024): at_most(1.5),
}


def train(bench: Bench) -> list[Row]:
    """Return the rows of tables of several sizes, and of their memory."""
    cases = bench.settings.rows
    results = bench.run("train", _tasks(bench, cases, tuple(PEERS)))
    rows = with_cpu(partial(_train_rows, bench, cases), results)
    last = cases[-1]
    other = results.get(f"{last.name} | TFRS")
    if other:
        own = results[f"{last.name} | merged"]
        values, reason = ratios(own, other, lambda one: one["peak"])
        goal = at_most(0.95) if last.items == 4 * MILLION else None
        rows.append(Row("train", last.name, "memory over TFRS", values, goal, reason))
    return rows


def _train_rows(bench: Bench, cases: Sequence[Case], results: Results) -> list[Row]:
    """Return the rows of sizes, and of the largest over the smallest."""
    rows = _rows(bench, "train", cases, results)
    first, last = cases[0], cases[-1]
    if len(cases) > 1:
        above, below = (results[f"{one.name} | every column"] for one in (last, first))
        case = f"{last.name} over {first.items:,} rows"
        values, reason = ratios(above, below, step)
        goal = None if bench.settings.short else at_most(1.05)
        rows.append(Row("train", case, "step, every column", values, goal, reason))
    return rows


def batch(bench: Bench) -> list[Row]:
    """Return the rows of other batch sizes."""
    cases = bench.settings.batches
    tasks = {}
    for case in cases:
        # Peers hold B x B logits several times: 16 GiB each with 65,536 rows.
        peers = ("TFRS", "torch") if case.batch < 10_000 else ()
        tasks |= _tasks(bench, [case], peers)
    return with_cpu(partial(_rows, bench, "batch", cases), bench.run("batch", tasks))


def dim(bench: Bench) -> list[Row]:
    """Return the rows of other dimensions."""
    cases = bench.settings.dims
    results = bench.run("dim", _tasks(bench, cases, ("TFRS", "torch")))
    return with_cpu(partial(_rows, bench, "dim", cases), results)


def history(bench: Bench) -> list[Row]:
    """Return the rows of query towers that read histories."""
    return _beside(bench, "history", bench.settings.histories, ("TFRS", "torch"))


def hard(bench: Bench) -> list[Row]:
    """Return the rows of batches with hard slots."""
    return _beside(bench, "hard", bench.settings.hard, ("torch",))


def floor_seconds(
    case: Case, columns: float, floors: Result, history: float = 0.0
) -> float:
    """Return the seconds of a step at the full speed of the machine.

    Both towers have two layers of 2 D numbers, with their gradients 24 D^2 FLOP per
    row; the scores and both of their gradients are 6 D C FLOP per row of C columns, and
    each score has an exponential. Each row of a table is read and written with its
    accumulator. The item of a hard slot is encoded, and scored for its own row.

    Args:
      case: the training.
      columns: items that are scored for every row, with their towers.
      floors: `sgemm`, `exp` and `bandwidth` per second.
      history: distinct items that the queries of a batch read.
    """
    rows, size, slots = case.batch, case.dim, case.batch * case.hard
    read = history if case.history else rows
    scores = rows * columns + slots
    flop = 24 * size**2 * (rows + columns + slots) + 6 * size * scores
    moved = 4 * 4 * size * (read + columns + slots)
    return flop / floors["sgemm"] + scores / floors["exp"] + moved / floors["bandwidth"]


def _tasks(
    bench: Bench, cases: Sequence[Case], peers: Sequence[str]
) -> dict[str, Task]:
    """Return the floors, and per case both arms and the peers."""
    tasks = {"floors": bench.floors()}
    settings = bench.settings
    for case in cases:
        plain = Case(case.items, case.batch)
        file = str(write_clicks(plain, settings.clicks, bench.folder))
        timed = {"seconds": settings.seconds}
        for arm, merge in ARMS.items():
            task = bench.own("train", case=case, file=file, merge=merge, **timed)
            tasks[f"{case.name} | {arm}"] = task
        wide = file if settings.short else None
        wide = wide or str(write_clicks(case, settings.clicks, bench.folder))
        shape = {"file": wide, "batch": case.batch, "dim": case.dim, **timed}
        for name in _chosen(bench, peers):
            env, script, others = PEERS[name]
            task = bench.peer(env, script, **shape, **others)
            tasks[f"{case.name} | {name}"] = task
    return tasks


def _chosen(bench: Bench, peers: Sequence[str]) -> list[str]:
    """Return the peers of a measure that the settings have."""
    chosen = bench.settings.peers
    return [name for name in peers if chosen is None or name in chosen]


def _rows(
    bench: Bench, measure: str, cases: Sequence[Case], results: Results
) -> list[Row]:
    """Return the rows of cases against the floors and against peers."""
    rows = []
    for case in cases:
        for arm in ARMS:
            own = results[f"{case.name} | {arm}"]
            for name, other in _others(case, results).items():
                values, reason = ratios(own, other, rate)
                goal = _goal(bench, arm, name, case)
                text = f"examples/s, {arm}, over {name}"
                rows.append(Row(measure, case.name, text, values, goal, reason))
            values, reason = _over_floor(case, arm, own, results["floors"])
            goal = _goal(bench, arm, "floor", case)
            text = f"step, {arm}, over its floor"
            rows.append(Row(measure, case.name, text, values, goal, reason))
    return rows


def _others(case: Case, results: Results) -> Results:
    """Return the results of the peers of a case, and of the better ones."""
    found = {
        name: results[f"{case.name} | {name}"]
        for name in PEERS
        if f"{case.name} | {name}" in results
    }
    fast = [results for name, results in found.items() if name != "keras-rs"]
    both = "TFRS" in found and "torch" in found
    return found | ({BEST: better(*fast, number=rate)} if both else {})


def _over_floor(
    case: Case, arm: str, own: Sequence[Result], floors: Sequence[Result]
) -> tuple[tuple[float, ...], str]:
    """Return the step over the floor of the same round."""

    def floor(pair: tuple[Result, Result]) -> Result:
        for one in pair:
            if "error" in one:
                return one
        columns = pair[0]["columns"] if arm == "merged" else case.batch
        seconds = floor_seconds(case, columns, pair[1], pair[0]["history"])
        return {"steps": [seconds]}

    below = [floor(pair) for pair in zip(own, floors, strict=True)]
    return ratios(own, below, step)


def _goal(bench: Bench, arm: str, other: str, case: Case) -> Goal | None:
    """Return the goal of a ratio; only the dimension 64 has goals."""
    if bench.settings.short or case.dim != 64:
        return None
    return GOALS.get((arm, other, case.items, case.batch))


def _beside(
    bench: Bench, measure: str, cases: Sequence[Case], peers: Sequence[str]
) -> list[Row]:
    """Return the rows of cases against peers, and against ids in batches alone."""
    bases = {case: Case(case.items, case.batch, case.dim) for case in cases}
    tasks = _tasks(bench, cases, peers) | _tasks(bench, list(set(bases.values())), ())
    results = bench.run(measure, tasks)
    return with_cpu(partial(_beside_rows, measure, bases), results)


def _beside_rows(measure: str, bases: dict[Case, Case], results: Results) -> list[Row]:
    """Return the rows of cases and of their bases."""
    rows = []
    for case, base in bases.items():
        row = partial(Row, measure, case.name)
        for arm in ARMS:
            own = results[f"{case.name} | {arm}"]
            for name, other in _others(case, results).items():
                text = f"examples/s, {arm}, over {name}"
                values, reason = ratios(own, other, rate)
                rows.append(row(text, values, None, reason))
            values, reason = ratios(own, results[f"{base.name} | {arm}"], rate)
            text = f"examples/s, {arm}, over ids and in-batch alone"
            rows.append(row(text, values, None, reason))
            values, reason = _over_floor(case, arm, own, results["floors"])
            rows.append(row(f"step, {arm}, over its floor", values, None, reason))
    return rows
