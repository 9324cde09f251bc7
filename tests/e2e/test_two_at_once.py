"""Two processes on one run, or on one sweep: nothing is lost or doubled."""

import errno
import os
import signal
import threading
import time

import pytest
from helpers import tiny
from helpers.chaos import remains

from twotower_jax.errors import BusyError
from twotower_jax.run import folder as folder_module
from twotower_jax.run.execute import run
from twotower_jax.run.folder import held, run_folder

LIMIT = 240
LONG = ("training.steps=200", "training.eval_every=20", "training.patience=0")
# Reports without the optimum of each arm, which takes seconds.
PLAIN = "hydra.callbacks.study.objective=false"
EVALUATED = list(range(20, 201, 20))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


def quiet(_):
    return None


def test_a_run_that_another_process_holds_is_left_alone(tmp_path, capsys):
    config = tiny.make_config(tmp_path)
    words = ("train", *tiny.SMALL, f"output={tmp_path}")
    with held(run_folder(config), False, quiet):
        assert tiny.command(*words) == 3
        error = capsys.readouterr().err
        assert f"is in use by process {os.getpid()} on " in error
        assert "wait for its end, or choose another name=" in error
        assert not run_folder(config).exists()
        with pytest.raises(BusyError):
            run(config)
    assert tiny.command(*words) == 0
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.slow
def test_two_commands_at_once_give_one_run(cache, tmp_path):
    words = ("train", *tiny.SMALL, *LONG, f"output={tmp_path / 'outputs'}")
    started = [
        tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / f"{n}.log")
        for n in range(2)
    ]
    ends = sorted(process.wait(LIMIT) for process in started)
    texts = [(tmp_path / f"{n}.log").read_text() for n in range(2)]
    assert ends[0] == 0 and set(ends) <= {0, 3}, texts
    assert not any("Traceback" in text for text in texts)
    (path,) = (tmp_path / "outputs").glob("*/*/result.json")
    log = tiny.read_lines(path.parent / "metrics.jsonl")
    assert [one["step"] for one in log] == EVALUATED


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_two_sweeps_at_once_train_each_run_once(launcher, cache, tmp_path):
    words = ("train", "-m", *tiny.SMALL, *LONG, f"output={tmp_path / 'outputs'}")
    words = (*words, f"hydra/launcher={launcher}", "seed=0,1", "baselines=false", PLAIN)
    started = [
        tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / f"{n}.log")
        for n in range(2)
    ]
    ends = [process.wait(LIMIT) for process in started]
    texts = [(tmp_path / f"{n}.log").read_text() for n in range(2)]
    assert ends == [0, 0], texts
    paths = sorted((tmp_path / "outputs").glob("*/*/result.json"))
    assert len(paths) == 2
    for path in paths:
        log = tiny.read_lines(path.parent / "metrics.jsonl")
        assert [one["step"] for one in log] == EVALUATED
    # Each run was trained by one of them, and returned by the other.
    assert sum(text.count("finished before") for text in texts) == 2


@pytest.mark.slow
def test_a_sweep_runs_what_another_process_holds_last(tmp_path, capsys):
    words = ("train", "-m", *tiny.SMALL, f"output={tmp_path}", "seed=0,1", PLAIN)
    first, second = (
        run_folder(tiny.make_config(tmp_path, f"seed={seed}")) for seed in (0, 1)
    )

    def hold():
        with held(first, False, quiet):
            taken.set()
            while not (second / "result.json").exists():
                time.sleep(0.05)

    taken = threading.Event()
    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert taken.wait(LIMIT)
    assert tiny.command(*words) == 0
    holder.join(LIMIT)
    shown = capsys.readouterr().out
    assert shown.count("it is run last") == 1
    assert shown.index("it is run last") < shown.index("seed 1: test")
    assert shown.index("seed 1: test") < shown.index("seed 0: test")
    assert (first / "result.json").exists()
    assert (first.parent / "report.html").exists()


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_free(cache, tmp_path):
    words = ("train", *tiny.SMALL, *LONG, f"output={tmp_path / 'outputs'}")
    words = (*words, "training.steps=100000")
    process = tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / "0.log")
    until = time.monotonic() + LIMIT
    while not list(tmp_path.glob("outputs/*/*/checkpoints/*.json")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    (path,) = (tmp_path / "outputs").glob("*/*/config.yaml")
    with pytest.raises(BusyError), held(path.parent, False, quiet):
        pass
    process.send_signal(signal.SIGKILL)
    assert process.wait(LIMIT) == -signal.SIGKILL
    (path.parent / ".result.json.1.tmp").write_text("cut off")
    with held(path.parent, False, quiet):
        pass
    assert not list(path.parent.glob(".*.tmp"))
    assert not list(path.parents[1].glob(".*.lock"))


def test_a_report_waits_for_another_one_of_its_folder(tmp_path, monkeypatch, capsys):
    """Both write study.json: the second reads what the first has written whole."""
    assert tiny.command("train", *tiny.SMALL, f"output={tmp_path}") == 0
    monkeypatch.setattr(folder_module, "SECONDS", 0.01)
    folder, said, ends = tmp_path / "simulator", "", []
    words = ("report", str(folder), "--no-objective")
    other = threading.Thread(target=lambda: ends.append(tiny.command(*words)))
    with held(folder / "report", False, quiet):
        other.start()
        while "in use by process" not in said and other.is_alive():
            said += capsys.readouterr().out
            time.sleep(0.01)
        assert other.is_alive() and not (folder / "report.html").exists()
    other.join(60)
    assert ends == [0] and (folder / "report.html").exists()
    assert not remains(folder)


@pytest.mark.parametrize("call", ["write_text", "unlink"])
def test_a_lock_whose_file_cannot_be_written_or_removed_is_free(
    call, tmp_path, monkeypatch
):
    def failing(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), call, failing)
    with pytest.raises(OSError, match="No space"), held(tmp_path / "a", False, quiet):
        pass
    monkeypatch.undo()
    with held(tmp_path / "a", False, quiet):
        pass
    assert not remains(tmp_path)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    said = []

    def failing(*_, **__):
        raise OSError(errno.ENOLCK, "of the disk")

    monkeypatch.setattr(folder_module.FileLock, "acquire", failing)
    with held(tmp_path / "a", False, said.append):
        assert "has no locks (of the disk): start one process" in "".join(said)
    assert not remains(tmp_path)
