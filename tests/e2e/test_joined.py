"""Processes that train one model together give what one process gives."""

import signal

import jax
import numpy as np
import pytest
from helpers import devices, tiny
from helpers.joined import Team, outcome

from twotower_jax.commands.join import _arguments, joined, without_join
from twotower_jax.errors import InputError
from twotower_jax.run.folder import held, run_folder
from twotower_jax.sweeps.compose import compose_config

RUN = (*tiny.SMALL, "training.mesh.data=2", "training.mesh.table=2")
CASES = {
    "two devices": (
        *("training.mesh.data=1", "training.mesh.table=2"),
        *("training.steps=20", "training.eval_every=10"),
    ),
    "in-batch": (),
    "one table of each process": ("training.mesh.data=1", "training.mesh.table=4"),
    "copies": ("training.mesh.data=4", "training.mesh.table=1"),
    "uniform": ("negatives.easy.num=32", "negatives.layout=per_row"),
    "masked": ("negatives.mask=user_positives", "training.feed=host"),
    "masked per row": (
        *("negatives.easy.num=32", "negatives.layout=per_row"),
        "negatives.mask=user_positives",
    ),
    "mined": (
        *("negatives.hard.num=4", "negatives/hard=mined"),
        *("negatives.hard.mined.range_min=5", "negatives.hard.mined.range_max=40"),
        *("negatives.hard.mined.warmup=0.2", "negatives.hard.mined.every=0.2"),
    ),
    "bank and stream": (
        *("negatives.bank.size=512", "loss.logq.correct=all"),
        "loss.logq.frequency=streaming",
    ),
    "at k": ("loss=softmax_at_k", "loss.at_k.every=0.2", "loss.at_k.sampled=100"),
    "fed by the host": ("training.feed=host", "training.order=blocks"),
    "spectral start": ("towers.init=spectral",),
    "pools": (
        *("negatives.hard.num=4", "negatives.hard.stages=[ranked]"),
        "training.feed=host",
    ),
    "histories": ("towers.query=[id,history]", "towers.history_length=5"),
    "features": (
        "towers.query=[id,segment,activity]",
        *("towers.candidate=[id,category,price,tags]", "training.feed=host"),
    ),
    "subtracted": ("evaluation.subtract_log_q=true", "loss.logq.correct=all"),
}


def alone(folder, words, number=4):
    """Return the outcome of the same training in one process with all devices."""
    devices.printed(number, "-m", "twotower_jax", "train", *words, cwd=folder)
    return outcome(folder / "outputs")


def together(folder, words, processes=2, number=4):
    """Return the outcome of several processes that have the devices together."""
    folder.mkdir()
    team = Team(folder, words, processes, number // processes)
    assert team.ends() == [0] * processes, team.log(0)
    return outcome(folder / "outputs")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_metrics_of_one(case, tmp_path):
    words, number = (*RUN, *CASES[case]), 2 if case == "two devices" else 4
    one = alone(tmp_path, words, number)
    two = together(tmp_path / "two", words, number=number)
    for mine, other in zip(one[2], two[2], strict=True):
        np.testing.assert_allclose(mine["loss"], other["loss"], rtol=2e-5)
    # Mined items whose scores differ by a rounding may change places.
    assert (one[:2] == two[:2]) or case == "mined"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["in-batch", "mined"])
def test_the_same_processes_give_the_same_bits_again(case, tmp_path):
    words = (*RUN, *CASES[case])
    assert together(tmp_path / "a", words) == together(tmp_path / "b", words)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["in-batch", "bank and stream", "fed by the host"])
def test_four_processes_give_the_metrics_of_one_and_the_same_bits_again(case, tmp_path):
    words = (*RUN, *CASES[case])
    one, four = alone(tmp_path, words), together(tmp_path / "four", words, 4)
    assert one[:2] == four[:2]
    assert four == together(tmp_path / "again", words, 4)


@pytest.mark.slow
def test_two_processes_read_a_prepared_log_as_one_does(tmp_path):
    log, folder = tmp_path / "log.csv", tmp_path / "prepared"
    lines = (f"{i % 31},{i * 7 % 29},{i}" for i in range(600))
    log.write_text("\n".join(("user,item,timestamp", *lines)))
    source = ("data=table", f"data.path={log}")
    assert tiny.command("data", "prepare", *source, "--out", str(folder)) == 0
    words = (
        *("data=prepared", f"data.path={folder}", "training.feed=host"),
        *("training.batch_size=64", "training.steps=20", "training.mesh.table=4"),
        *("evaluation.k=[20]", "towers.dim=8"),
    )
    one, two = alone(tmp_path, words), together(tmp_path / "two", words)
    assert one[:2] == two[:2]
    for mine, other in zip(one[2], two[2], strict=True):
        np.testing.assert_allclose(mine["loss"], other["loss"], rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1])
def test_a_process_that_dies_ends_the_others_and_the_same_command_goes_on(
    place, tmp_path
):
    words = (*RUN, "training.steps=400", "training.eval_every=20")
    team = Team(tmp_path, words, 2, 2)
    team.after_a_checkpoint(place, signal.SIGKILL)
    ends, other = team.ends(), 1 - place
    assert ends[place] == -signal.SIGKILL and ends[other] not in (0, -signal.SIGKILL)
    assert any(
        text in team.log(other)
        for text in ("the connection to another process is lost", "another task died")
    )
    again = Team(tmp_path, words, 2, 2)
    assert again.ends() == [0, 0] and "resuming at step" in again.log(0)
    assert outcome(tmp_path / "outputs") == together(tmp_path / "whole", words)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1])
def test_a_signal_to_one_process_saves_the_state_and_ends_all(place, tmp_path):
    words = (*RUN, "training.steps=4000", "training.eval_every=20")
    team = Team(tmp_path, words, 2, 2)
    team.after_a_checkpoint(place, signal.SIGTERM)
    assert team.ends() == [128 + signal.SIGTERM] * 2
    assert "stopped by SIGTERM at step" in team.log(0)
    assert not [line for line in team.log(1).splitlines() if line.startswith("step")]
    (status,) = (tmp_path / "outputs").glob("*/*/status.json")
    step = int(tiny.read_json(status)["reason"].partition(";")[0].split()[-1])
    assert (status.parent / "checkpoints" / f"{step}.json").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ((), ("optimizer.learning_rate=0.5",)),
            "process 1 has optimizer.learning_rate=0.5, but process 0 has 0.2; start "
            "the same command on all hosts",
        ),
        pytest.param(
            (("training.mesh.data=1",),) * 2,
            "training.mesh.data=1 times training.mesh.table=2 is not 4, the devices "
            "of the 2 processes; set, for example",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_that_differ_are_refused_by_all(words, message, tmp_path):
    team = Team(tmp_path, [(*RUN, *own) for own in words], 2, 2)
    assert team.ends() == [2, 2]
    for place in (0, 1):
        assert team.errors(place).startswith(f"error: {message}"), team.log(place)
    assert not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.slow
def test_processes_leave_a_run_that_is_in_use(tmp_path):
    with held(tmp_path / run_folder(compose_config(list(RUN))), False, print):
        team = Team(tmp_path, RUN, 2, 2)
        assert team.ends() == [3, 3]
    for place in (0, 1):
        assert "process 0 of 2: " in team.log(place)
        assert "is in use by process" in team.log(place)


@pytest.mark.slow
def test_a_word_that_one_process_cannot_read_ends_all(tmp_path):
    team = Team(tmp_path, [RUN, (*RUN, "training.stepz=5")], 2, 2)
    assert team.ends()[1] == 2
    assert "error: " in team.log(1) and "training.stepz" in team.log(1)
    assert team.ends()[0] not in (0, -signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("other", [None, "other"])
def test_a_process_without_the_same_data_ends_all(other, tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, rows in zip(paths, (600, 599), strict=True):
        lines = (f"{i % 31},{i * 7 % 29},{i}" for i in range(rows))
        path.write_text("\n".join(("user,item,timestamp", *lines)))
    # The path is that of a link, which leads each process to a file of its own.
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "log.csv").symlink_to(paths[0])
    if other:
        (folders[1] / "log.csv").symlink_to(paths[1])
    words = (
        *("data=table", "data.path=log.csv", f"output={tmp_path / 'outputs'}"),
        *("training.batch_size=64", "training.steps=20", "training.mesh.table=4"),
        *("evaluation.k=[20]", "towers.dim=8"),
    )
    team = Team(folders, words, 2, 2)
    assert team.ends() == [2, 2]
    message = (
        "process 1 has the data of data.path="
        if other
        else "process 1 of 2: data.path="
    )
    for place in (0, 1):
        assert f"error: {message}" in team.log(place)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--join", "a:1,2,2"], "--join a:1,2,2: give HOST:PORT,N,I for process I"),
        (["--join=a,2,0"], "--join a,2,0: give HOST:PORT,N,I"),
        (["--join"], "--join without a value: give HOST:PORT,N,I"),
        (["--join", "auto", "-m", "seed=1,2"], "--join trains one run by several"),
    ],
)
def test_a_wrong_join_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        _arguments(without_join(words)[1])


class KubernetesError(Exception):
    """An error of a package that detects a cluster."""


@pytest.mark.parametrize("error", [ValueError, KubernetesError])
def test_a_cluster_that_is_not_found_is_refused(error, monkeypatch):
    def initialize(**_):
        raise error("Service token file does not exist.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    message = r"did not meet \(Service token .*\); .* elsewhere give HOST:PORT,N,I"
    with pytest.raises(InputError, match=message), joined("auto"):
        pass
