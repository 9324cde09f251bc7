"""Measures of evaluation, start, the whole command, studies and sequences."""

import math
import os
import subprocess
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .context import Bench
from .processes import Result, Task, own_job, process
from .rows import Results, Row, at_least, at_most, ratios, step, with_cpu
from .settings import MILLION, Case, Settings, short
from .worlds import write_clicks

K = 100
SEARCH_GOALS = {100_000: at_least(1.3), MILLION: at_least(2.0)}
SAME = 0.999  # of the places; rounding swaps items of nearly equal scores
SEQUENCE_BATCH, PEER_BATCH = 1024, 128


def evaluate(bench: Bench) -> list[Row]:
    """Return the rows of exact top-k with masked items."""
    tasks: dict[str, Task] = {}
    for items, queries in bench.settings.searches:
        job = {"items": items, "queries": queries, "k": min(K, items // 20)}
        files = {who: str(bench.folder / f"{items}-{who}.npy") for who in "ot"}
        name = f"{short(items)} items"
        tasks[f"{name} | top_k"] = bench.own("evaluate", **job, file=files["o"])
        peer = bench.peer("faiss", "faiss_flat.py", **job, file=files["t"])
        tasks[f"{name} | faiss"] = _compared(peer, files["o"], files["t"])
        plain = str(bench.folder / "plain.npy")
        task = bench.own("evaluate", **job, file=plain, plain=True)
        tasks[f"{name} | lax.top_k"] = task
    return with_cpu(partial(_search_rows, bench), bench.run("evaluate", tasks))


def _search_rows(bench: Bench, results: Results) -> list[Row]:
    """Return the rows of searches."""
    rows = []
    for items, _ in bench.settings.searches:
        name = f"{short(items)} items"
        goal = None if bench.settings.short else SEARCH_GOALS.get(items)
        for who, bound in (("faiss", goal), ("lax.top_k", None)):
            values, reason = ratios(
                results[f"{name} | {who}"],
                results[f"{name} | top_k"],
                itemgetter("seconds"),
            )
            text = f"queries/s over {who}"
            rows.append(Row("evaluate", name, text, values, bound, reason))
    return rows


def start(bench: Bench) -> list[Row]:
    """Return the rows of the seconds from the start to the first step."""
    case = bench.settings.rows[-1]
    if not bench.settings.short:
        case = Case(MILLION, 4096)
    file = str(write_clicks(case, bench.settings.clicks, bench.folder))
    job = {"kind": "start", "case": case, "file": file}

    def own(number: int) -> Result:
        cache = bench.folder / f"programs{number}"
        return own_job(job, {"TWOTOWER_CACHE": str(cache)})

    shape = {"file": file, "batch": case.batch, "dim": case.dim, "seconds": 0}
    peer = bench.peer("tfrs", "tfrs_towers.py", **shape)
    # The first start of a round fills the cache of the second.
    tasks = {"cold": own, "warm": own, "TFRS": peer}
    results = bench.run("start", tasks)
    return with_cpu(partial(_start_rows, bench, case), results)


def _start_rows(bench: Bench, case: Case, results: Results) -> list[Row]:
    """Return the rows of starts."""
    rows = []
    goals = {"cold": at_most(0.7), "warm": at_most(0.4)}
    for name, goal in goals.items():
        values, reason = ratios(results[name], results["TFRS"], _to_first)
        bound = None if bench.settings.short else goal
        text = f"seconds, {name} cache, over TFRS"
        rows.append(Row("start", case.name, text, values, bound, reason))
    values, reason = ratios(results["warm"], results["cold"], _to_first)
    rows.append(Row("start", case.name, "warm over cold cache", values, None, reason))
    return rows


def command(bench: Bench) -> list[Row]:
    """Return the row of the whole command against its bare steps."""
    from training import path_command, path_result, write_log

    case, settings = bench.settings.rows[-1], bench.settings
    if not settings.short:
        case = Case(MILLION, 4096)
    file = write_clicks(case, settings.clicks, bench.folder)
    log = bench.folder / "log.parquet"
    write_log(log, case.items)
    words = [f"towers.dim={case.dim}", f"towers.hidden=[{2 * case.dim}]"]
    words += ["optimizer.learning_rate=0.05"]

    def whole(number: int) -> Result:
        output = bench.folder / f"command{number}"
        line = path_command(log, output, case.batch, settings.command_steps, *words)
        result = process(line, prints=False)
        if "error" in result:
            return result
        seconds = case.batch / path_result(output)["examples_per_second"]
        return result | {"steps": [seconds]}

    job = {"case": case, "file": str(file), "seconds": settings.seconds}
    results = bench.run("command", {"bare": bench.own("train", **job), "whole": whole})
    values, reason = ratios(results["bare"], results["whole"], step)
    goal = None if settings.short else at_least(0.93)
    text = "examples/s over the bare step"
    return [Row("command", case.name, text, values, goal, reason)]


def study(bench: Bench) -> list[Row]:
    """Return the row of a study in one process against one process per run."""
    from fused import study_alone, study_fused, timed

    settings = bench.settings
    seeds = [str(seed) for seed in range(settings.seeds)]
    given = (settings.arms, seeds, *settings.study)

    def task(function: Any, letter: str) -> Task:
        def run(number: int) -> Result:
            before = os.times()
            output = f"study{letter}{number}"
            try:
                seconds, _ = timed(lambda: function(bench.folder, output, *given))
            except subprocess.CalledProcessError as error:
                return {"error": f"a run ended with exit status {error.returncode}"}
            cpu = sum(os.times()[2:4]) - sum(before[2:4])  # of the processes
            return {"wall": seconds, "cpu": {"wall": cpu}}

        return run

    tasks = {"alone": task(study_alone, "a"), "fused": task(study_fused, "b")}
    results = bench.run("study", tasks)
    return with_cpu(partial(_study_rows, settings), results)


def _study_rows(settings: Settings, results: Results) -> list[Row]:
    """Return the row of a study."""
    values, reason = ratios(results["fused"], results["alone"], lambda one: one["wall"])
    number = len(settings.arms) * settings.seeds
    goal = None if settings.short else at_most(0.33)
    text = f"seconds over {number} processes"
    return [Row("study", f"{number} runs", text, values, goal, reason)]


def sequences(bench: Bench) -> list[Row]:
    """Return the row of a sequence tower against RecTools' SASRec."""
    case, ratio = "12,000 items, 256 negatives per row", "epochs/s over RecTools"
    found = bench.environment("rectools")
    python = found.python
    if python is None:
        return [Row("sequences", case, ratio, (), None, found.reason)]
    from sequences import PEER, generated

    user, item = generated()
    file = bench.folder / "positives.npz"
    np.savez(file, user=user, item=item)
    batches = math.ceil(len(np.unique(user)) / PEER_BATCH)

    def peer(_: int) -> Result:
        result = process([python, PEER, file, PEER_BATCH, 12], named="seconds")
        times = result.get("seconds", [])
        return result | {"seconds": [batches * one for one in times]}

    job = {"file": str(file), "batch": SEQUENCE_BATCH, "steps": 8, "turns": 3}
    results = bench.run(
        "sequences", {"own": bench.own("sequences", **job), "RecTools": peer}
    )
    values, reason = ratios(
        results["RecTools"], results["own"], lambda one: median(one["seconds"])
    )
    return [Row("sequences", case, ratio, values, None, reason)]


def _to_first(result: Result) -> float:
    """Return the seconds from the start of a process to its first step."""
    return result["first"] - result["started"]


def _compared(task: Task, own: str, other: str) -> Task:
    """Return a task whose result also has the share of the items that are the same."""

    def run(number: int) -> Result:
        result = task(number)
        if "error" in result or not Path(own).exists():
            return result
        same = float((np.load(own) == np.load(other)).mean())
        if same < SAME:
            return {"error": f"only {same:.1%} of the items are the same"}
        return result | {"same": same}

    return run
