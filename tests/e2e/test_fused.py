"""hydra/launcher=fused: runs side by side are the runs of the basic launcher."""

import json
import os
import signal
import time

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.sweeps import runner
from twotower_jax.training.together import run_arms

FUSED = "hydra/launcher=fused"
PROCESSES = "hydra.launcher.processes=true"
# Arms that differ in numbers, in the number of steps and in where they stop.
SWEEP = (
    "negatives.in_batch=true",
    "negatives.easy.num=32",
    "seed=1",
    "optimizer.learning_rate=0.05,0.4",
    "training.steps=12,24",
    "training.patience=1",
    "training.min_steps=0",
    "training.eval_every=4",
    "evaluation.save_topk=true",
)


NO_REPORT = "~hydra.callbacks.study"


def sweep(
    output, *words, status=0, base=(*tiny.SMALL, "training.batch_size=128", NO_REPORT)
):
    """Run a sweep and return the folders of its runs by their names."""
    command = ("train", "-m", *base, f"output={output}", "name=sweep")
    assert tiny.command(*command, *words) == status
    return {path.name: path for path in sorted((output / "sweep").glob("*/"))}


def assert_same_run(one, other):
    """Compare all files of two runs, except times and places."""
    first, second = (tiny.read_json(path / "result.json") for path in (one, other))
    for key in ("seconds", "examples_per_second"):
        del first[key], second[key]
    assert json.dumps(first) == json.dumps(second)
    logs = [tiny.read_lines(path / "metrics.jsonl") for path in (one, other)]
    for record in (*logs[0], *logs[1]):
        del record["seconds"]
    assert logs[0] == logs[1]
    for name in ("queries.parquet", "topk.parquet"):
        assert pl.read_parquet(one / name).equals(pl.read_parquet(other / name))
    files = [{p.name for p in path.iterdir()} for path in (one, other)]
    assert files[0] == files[1] >= {"config.yaml", "manifest.json", "checkpoints"}
    assert not list(one.rglob("*tmp*"))
    steps = [{p.name for p in (x / "checkpoints").iterdir()} for x in (one, other)]
    assert steps[0] == steps[1]


@pytest.fixture(scope="module")
def fused_sweep(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("fused"), FUSED, *SWEEP)


@pytest.fixture(scope="module")
def sweep_of_processes(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("processes"), FUSED, PROCESSES, *SWEEP)


def test_runs_have_the_bits_of_separate_ones(
    fused_sweep, sweep_of_processes, tmp_path, capsys
):
    basic = sweep(tmp_path, *SWEEP)
    assert len(basic) == 4 and basic.keys() == fused_sweep.keys()
    stopped = set()
    for name, path in basic.items():
        assert_same_run(fused_sweep[name], path)
        assert_same_run(sweep_of_processes[name], path)
        stopped.add(tiny.read_json(path / "result.json")["steps"])
    # Early stopping is each arm's own: both of 24 steps end before them.
    assert len(stopped) > 1 and max(stopped) < 24
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count(": test recall@20 0.") == 4


@pytest.mark.slow
def test_all_arms_as_one_program(tmp_path):
    """As on an accelerator: equal to rounding, which may swap two items of a list."""
    before = run_arms._cache_size()
    words = ("hydra.launcher.together=true", "hydra.launcher.workers=8")
    short = (*SWEEP, "training.steps=4,8", "training.patience=0")
    fused = sweep(tmp_path, FUSED, *words, *short)
    alone = sweep(tmp_path / "alone", FUSED, *short)
    assert len(fused) == 4 and fused.keys() == alone.keys()
    assert run_arms._cache_size() == before + 1
    for name, path in fused.items():
        records = tiny.read_lines(path / "metrics.jsonl")
        expected = tiny.read_lines(alone[name] / "metrics.jsonl")
        assert [one["step"] for one in records] == [one["step"] for one in expected]
        losses = [one["loss"] for one in expected]
        assert [one["loss"] for one in records] == pytest.approx(losses, rel=1e-5)
        one, other = (tiny.read_json(x / "result.json") for x in (path, alone[name]))
        for split, values in other["metrics"].items():
            recall = one["metrics"][split]["recall@20"]
            assert recall == pytest.approx(values["recall@20"], abs=0.005)


@pytest.mark.slow
def test_it_prints_the_lines_of_the_basic_launcher(fused_sweep, capsys):
    output = next(iter(fused_sweep.values())).parents[1]
    base = (*tiny.SMALL, "training.batch_size=128")
    sweep(output, *SWEEP, base=base)
    basic = capsys.readouterr().out
    sweep(output, FUSED, *SWEEP, base=base)
    again = capsys.readouterr().out
    assert again == basic
    assert again.count("finished before; returning its result") == 4
    assert again.splitlines()[-1].endswith("report.html")


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["false", "true"])
def test_failed_runs_are_named_and_the_others_go_on(processes, tmp_path, capsys):
    fused_words = (FUSED, f"hydra.launcher.processes={processes}")
    words = (*fused_words, "towers.normalize=false", "training.steps=20", "seed=0,1")
    rates = "optimizer.learning_rate=1e29,0.05"
    fused = sweep(tmp_path, *words, rates, status=1)
    results = [path for path in fused.values() if (path / "result.json").exists()]
    failed = [path for path in fused.values() if path not in results]
    assert len(results) == len(failed) == 2
    for path in failed:
        status = tiny.read_json(path / "status.json")
        assert status["status"] == "failed"
        assert "NonFiniteLossError" in status["reason"]
    shown = capsys.readouterr()
    # Both have the same error, which is printed once.
    assert shown.err.count("lower optimizer.learning_rate") == 1
    assert "Traceback" not in shown.err
    # Wrong input of some jobs, before and after their configuration is composed.
    batches = "training.batch_size=128,1000000,1"
    sweep(tmp_path, *fused_words, "training.steps=20", batches, status=2)
    shown = capsys.readouterr()
    assert "training.batch_size=1000000 is more than the" in shown.err
    assert "training.batch_size=1 " in shown.err and shown.err.count("error: ") == 2
    assert shown.out.count(": test recall@20 0.") == 1


@pytest.mark.slow
def test_the_options_are_checked(tmp_path, capsys):
    sweep(tmp_path, FUSED, "hydra.launcher.workers=0", "seed=0,1", status=2)
    error = capsys.readouterr().err
    assert "hydra.launcher.workers=0 is out of range" in error
    assert "Traceback" not in error
    for key in ("workers", "processes", "together"):
        sweep(tmp_path, FUSED, f"hydra.launcher.{key}=x", "seed=0,1", status=2)
        error = capsys.readouterr().err
        assert f"hydra.launcher.{key}='x' has the wrong type" in error
        assert "Traceback" not in error
    both = (PROCESSES, "hydra.launcher.together=true")
    sweep(tmp_path, FUSED, *both, "seed=0,1", status=2)
    error = capsys.readouterr().err
    assert "as one program" in error and "leave one of them out" in error


@pytest.mark.slow
def test_runs_over_devices_are_left_to_themselves(tmp_path, monkeypatch):
    """They begin when the others have ended: two at once may wait for each other."""
    events = []

    def run(config, real=runner.run, **options):
        events.append(config.training.devices)
        config.training.devices = 1  # there is one here
        try:
            return real(config, folder=tmp_path / f"{len(events)}", **options)
        finally:
            events.append("end")

    monkeypatch.setattr(runner, "run", run)
    words = ("training.steps=2", "training.batch_size=64", "seed=0")
    sweep(tmp_path, FUSED, *words, "training.devices=2,1")
    assert events == [1, "end", 2, "end"]


@pytest.mark.slow
def test_files_are_read_once(tmp_path, monkeypatch):
    """As is each of two data sets, whatever the order of the jobs."""
    rows = [(f"u{n % 40}", f"i{n}", n) for n in range(400)]
    table = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    table.write_parquet(tmp_path / "clicks.parquet")
    loads = []

    def load(config, real=runner.load_data):
        loads.append(config.data.test_share)
        return real(config)

    monkeypatch.setattr(runner, "load_data", load)
    words = ("data=table", f"data.path={tmp_path}/clicks.parquet", "towers=popularity")
    words = (*words, "data.columns.time=time", "evaluation.k=[5]", "seed=0,1,2")
    words = (*words, "training.metric=recall@5", "data.test_share=0.1,0.2")
    sweep(tmp_path, FUSED, *words, "name=x${data.test_share}", base=())
    assert sorted(loads) == [0.1, 0.2]
    assert len(list(tmp_path.glob("x0.[12]/*/result.json"))) == 6


@pytest.mark.slow
def test_the_number_of_workers_limits_the_runs_at_a_time(tmp_path, monkeypatch):
    """One worker is the basic launcher's order; a run of two jobs is made once."""
    begun = []

    def run(config, real=runner.run, **options):
        begun.append(config.seed)
        return real(config, **options)

    monkeypatch.setattr(runner, "run", run)
    words = ("training.steps=2", "hydra.launcher.workers=1", "seed=2,0,2,1")
    assert len(sweep(tmp_path, FUSED, *words)) == 3
    assert begun == [2, 0, 1, 2]  # the second job of seed 2 finds its result


LONG = (
    "train",
    "-m",
    FUSED,
    *tiny.SMALL,
    "training.steps=1600",
    "training.eval_every=400",
    "training.checkpoint_every=40",
    "training.steps_per_dispatch=3",
    "evaluation.save_topk=true",
    "output=outputs",
    "name=sweep",
    "seed=0,1,2",
)


def saved(runs):
    """Return the newest step of each run that has one."""
    found = {}
    for path in runs.glob("*/checkpoints/*"):
        if path.name.isdigit():
            found.setdefault(path.parent.parent.name, []).append(int(path.name))
    return {name: max(steps) for name, steps in found.items()}


def wait(process, condition):
    """Wait until a condition holds or a process has ended."""
    until = time.monotonic() + 240
    while process.poll() is None and not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["false", "true"])
def test_all_arms_stop_and_go_on(processes, tmp_path):
    """SIGTERM, then SIGKILL, then to the end: the bits of runs that never stopped."""
    cache, runs = tmp_path / "cache", tmp_path / "outputs/sweep"
    words = (*LONG, f"hydra.launcher.processes={processes}")

    def start(name):
        log = tmp_path / f"{name}.log"
        return tiny.start(words, cwd=tmp_path, cache=cache, log=log)

    process = start("stopped")
    wait(process, lambda: saved(runs))
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 128 + signal.SIGTERM
    before = saved(runs)
    assert before
    for name, step in before.items():
        status = tiny.read_json(runs / name / "status.json")
        assert status["reason"].startswith(f"stopped by SIGTERM at step {step};")
        assert status["status"] == "running" and step < 1600
    assert not list(runs.glob("*/result.json"))
    process = start("killed")
    wait(process, lambda: saved(runs) != before)
    process.kill()
    assert process.wait(240) == -signal.SIGKILL
    assert start("last").wait(240) == 0, (tmp_path / "last.log").read_text()
    shown = (tmp_path / "last.log").read_text()
    assert "resuming at step" in shown
    base = tuple(word for word in LONG[3:] if not word.startswith("output="))
    whole = sweep(tmp_path / "whole", base=base)
    assert len(whole) == 3
    for name, path in whole.items():
        assert_same_run(runs / name, path)


@pytest.mark.slow
def test_a_killed_process_fails_its_run_alone(tmp_path):
    """It is found by the lock of the run; a file of the working folder is not run."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported')\n")
    cache, runs = tmp_path / "cache", tmp_path / "outputs/sweep"
    words = (*LONG, PROCESSES, NO_REPORT)
    first, log = {"cwd": tmp_path, "cache": cache}, tmp_path / "killed.log"
    process = tiny.start(words, log=log, **first)

    def whole():
        """Return the names of the runs that have a whole checkpoint."""
        return [path.parts[-3] for path in runs.glob("*/checkpoints/*.json")]

    wait(process, whole)
    name = whole()[0]
    holder = tiny.read_json(runs / f".{name}.lock")["process"]
    assert holder != process.pid
    os.kill(holder, signal.SIGKILL)
    assert process.wait(240) == 1, log.read_text()
    text = log.read_text()
    assert f"the process that trained outputs/sweep/{name} was ended by SIGKILL" in text
    assert text.count("error: ") == 1 and "Traceback" not in text
    assert len(list(runs.glob("*/result.json"))) == 2
    log = tmp_path / "again.log"
    assert tiny.start(words, log=log, **first).wait(240) == 0, log.read_text()
    assert "resuming at step" in log.read_text()
    base = tuple(word for word in LONG[3:] if not word.startswith("output="))
    unbroken = sweep(tmp_path / "whole", base=(*base, NO_REPORT), status=0)
    assert_same_run(runs / name, unbroken[name])
