"""A run that is killed at any moment and started again ends with the same bits."""

import contextlib
import io
import signal
import time

import pytest
from helpers import tiny

STEPS, EVAL, SAVE = 320, 40, 20
# Checkpoints also between validations, and a dispatch that does not divide either.
TRAIN = (
    "train",
    *tiny.SMALL,
    f"training.steps={STEPS}",
    f"training.eval_every={EVAL}",
    f"training.checkpoint_every={SAVE}",
    "training.steps_per_dispatch=3",
    # Too fast on purpose: the best validation is not the last one.
    "optimizer.learning_rate=0.3",
    "loss.learn_temperature=true",
)
LIMIT = 240


def start(folder, output, cache, name):
    words = (*TRAIN, f"output={output}")
    return tiny.start(words, cwd=folder, cache=cache, log=folder / f"{name}.log")


def finish(folder, output, cache, name="last"):
    """Run the command to its end; return the run's folder and its output."""
    assert start(folder, output, cache, name).wait(LIMIT) == 0, printed(folder, name)
    (path,) = (folder / output / "simulator").iterdir()
    return path, printed(folder, name)


def printed(folder, name):
    return (folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run without interruption, in this process."""
    output = tmp_path_factory.mktemp("reference")
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert tiny.command(*TRAIN, f"output={output}") == 0
    assert "resuming" not in shown.getvalue()
    (path,) = (output / "simulator").iterdir()
    result = tiny.read_json(path / "result.json")
    assert 0 < result["best_step"] < result["steps"] == STEPS
    return path


def wait_until(process, condition):
    """Wait for a condition, or for the end of the process."""
    until = time.monotonic() + LIMIT
    while process.poll() is None and not condition():
        assert time.monotonic() < until, "the run neither ended nor went on"
        time.sleep(0.002)


def saved_steps(output):
    """Return the steps of the complete checkpoints below a folder."""
    paths = output.glob("simulator/*/checkpoints/*")
    return {int(path.name) for path in paths if path.name.isdigit()}


def lines(output):
    """Return how many validations the run has logged."""
    files = list(output.glob("simulator/*/metrics.jsonl"))
    return sum(file.read_bytes().count(b"\n") for file in files)


def first_checkpoint(output):
    return bool(saved_steps(output))


def between_checkpoints(output):
    if lines(output) < 5:
        return False
    time.sleep(0.03)
    return True


def last_checkpoint(output):
    return STEPS in saved_steps(output)


def assert_like_reference(path, reference):
    """Compare the metrics and the log of validations, to the bit."""
    whole = tiny.read_json(reference / "result.json")
    after = tiny.read_json(path / "result.json")
    for key in ("metrics", "steps", "best_step", "queries", "seed"):
        assert after[key] == whole[key], key
    assert path.name == reference.name
    assert tiny.read_json(path / "status.json")["status"] == "done"
    records = tiny.read_lines(path / "metrics.jsonl")
    assert [one["step"] for one in records] == list(range(EVAL, STEPS + 1, EVAL))
    for one, other in zip(
        records, tiny.read_lines(reference / "metrics.jsonl"), strict=True
    ):
        del one["seconds"], other["seconds"]
        assert one == other
    left = {file.name for file in path.rglob("*") if file.name.endswith("tmp")}
    assert not left
    kept = {one.name for one in (path / "checkpoints").iterdir()}
    # The parameters that are evaluated; no state is needed any more.
    params = f"{after['best_step']}-params"
    assert kept == {params, f"{params}.json"}


@pytest.mark.parametrize(
    "moments",
    [
        (between_checkpoints,),
        pytest.param((first_checkpoint, between_checkpoints), marks=pytest.mark.slow),
        pytest.param((last_checkpoint,), marks=pytest.mark.slow),
    ],
    ids=lambda moments: "-then-".join(one.__name__ for one in moments),
)
def test_killed_runs_end_with_the_same_bits(moments, reference, cache, tmp_path):
    output, killed = tmp_path / "killed", []
    for number, moment in enumerate(moments):
        process = start(tmp_path, "killed", cache, f"start{number}")
        wait_until(process, lambda moment=moment: moment(output))
        process.kill()
        killed.append(process.wait(LIMIT) == -signal.SIGKILL)
    (run,) = (output / "simulator").glob("[!.]*")
    if killed[-1] and not (run / "result.json").exists():
        assert tiny.read_json(run / "status.json")["status"] == "running"
    path, text = finish(tmp_path, "killed", cache)
    assert_like_reference(path, reference)
    if between_checkpoints in moments:
        # Seconds lay between this checkpoint and the end.
        assert all(killed)
        assert "resuming at step " in text
        assert "resuming" not in printed(tmp_path, "start0")


@pytest.mark.slow
def test_a_run_that_is_stopped_saves_and_goes_on(reference, cache, tmp_path):
    output, steps = tmp_path / "stopped", [0]
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(tmp_path, "stopped", cache, number.name)
        wait_until(process, lambda: saved_steps(output) - set(steps))
        process.send_signal(number)
        assert process.wait(LIMIT) == 128 + number
        assert "Traceback" not in printed(tmp_path, number.name)
        (run,) = (output / "simulator").glob("[!.]*")
        status = tiny.read_json(run / "status.json")
        step = max(saved_steps(output))
        assert steps[-1] < step < STEPS
        assert status["status"] == "running"
        assert status["reason"].startswith(f"stopped by {number.name} at step {step};")
        assert not (run / "result.json").exists()
        steps.append(step)
    path, text = finish(tmp_path, "stopped", cache)
    assert f"resuming at step {steps[1]}\n" in printed(tmp_path, "SIGINT")
    assert f"resuming at step {steps[2]}\n" in text
    assert_like_reference(path, reference)
    assert tiny.read_json(path / "status.json")["reason"] is None


@pytest.mark.slow
def test_a_sweep_that_is_stopped_says_that_the_same_command_resumes(cache, tmp_path):
    words = (*TRAIN, "output=swept", "seed=0,1", "baselines=false", "-m")
    process = tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / "sweep.log")
    wait_until(process, lambda: saved_steps(tmp_path / "swept"))
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 128 + signal.SIGINT
    text = printed(tmp_path, "sweep")
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("stopped: the same command resumes; ")
    # One run was stopped, and the other did not begin.
    assert len(list((tmp_path / "swept" / "simulator").glob("*/status.json"))) == 1
