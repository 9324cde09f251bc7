"""An interrupted training goes on with another mesh."""

import numpy as np
import pytest
from helpers import devices, tiny
from helpers.joined import outcome

from twotower_jax.commands.remesh import with_words
from twotower_jax.run.folder import held

SHORT = ("training.steps=20",)
TABLE = ("training.mesh.table=4",)
BOTH = ("training.mesh.data=2", "training.mesh.table=2")
# Samplers with a state that lies on the mesh.
CASES = {
    "in-batch": (),
    "adam": ("optimizer=adam",),
    "bank and stream": (
        *("negatives.bank.size=512", "loss.logq.correct=all"),
        "loss.logq.frequency=streaming",
    ),
    "mined": (
        *("negatives.hard.num=4", "negatives/hard=mined"),
        *("negatives.hard.mined.range_min=5", "negatives.hard.mined.range_max=40"),
        *("negatives.hard.mined.warmup=0.2", "negatives.hard.mined.every=0.2"),
    ),
    "at k": ("loss=softmax_at_k", "loss.at_k.every=0.2", "loss.at_k.sampled=100"),
}


def train(folder, *words):
    """Train in a process with four devices; return what it prints."""
    folder.mkdir(exist_ok=True)
    words = ("-m", "twotower_jax", "train", *tiny.SMALL, *SHORT, *words)
    return devices.printed(4, *words, cwd=folder)


def only_run(folder):
    (path,) = folder.glob("outputs/*/*/config.yaml")
    return path.parent


def remeshed(run, *words):
    """Return the folder of a run with another mesh."""
    others = set(run.parent.iterdir())
    assert tiny.command("remesh", str(run), *words) == 0
    (made,) = set(run.parent.iterdir()) - others
    return made


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_training_that_changes_its_mesh_ends_as_one_that_did_not(
    case, tmp_path, capsys
):
    words = CASES[case]
    train(tmp_path / "parts", *words, *TABLE, "pause=10")
    first = only_run(tmp_path / "parts")
    before = tiny.read_lines(first / "metrics.jsonl")
    made = remeshed(first, *BOTH)
    shown = capsys.readouterr().out
    assert f"{made} has the state of step 10" in shown
    assert " ".join(BOTH) in shown and "training.mesh.table=4" not in shown

    printed = train(tmp_path / "parts", *words, *BOTH)
    assert "resuming at step 10" in printed
    assert "were made with mesh [1, 4], now [2, 2]" in printed
    train(tmp_path / "whole", *words, *BOTH)
    assert made.name == only_run(tmp_path / "whole").name
    parts = tmp_path / "one"
    (parts / "name").mkdir(parents=True)
    (parts / "name" / "run").symlink_to(made)
    one, two = outcome(parts), outcome(tmp_path / "whole" / "outputs")
    assert [line["step"] for line in one[2]] == [line["step"] for line in two[2]]
    for mine, other in zip(one[2], two[2], strict=True):
        np.testing.assert_allclose(mine["loss"], other["loss"], rtol=2e-5)
    # Items whose scores differ by a rounding may change places.
    assert one[0] == two[0] or case == "mined"

    # The steps before are those of the first mesh, which stays as it was.
    assert tiny.read_lines(made / "metrics.jsonl")[:1] == before
    assert tiny.read_lines(first / "metrics.jsonl") == before
    earlier = tiny.read_json(made / "manifest.json")["earlier"]
    assert [part["mesh"] for part in earlier] == [[1, 4]]


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """A run that one device began."""
    folder = tmp_path_factory.mktemp("paused")
    words = ("train", *tiny.SMALL, f"output={folder / 'outputs'}", "pause=15")
    assert tiny.command(*words) == 0
    return only_run(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed=3",), "'seed=3': only the mesh of a training changes; give training."),
        (("training.mesh.table",), "give training.devices=N, training.mesh.data=N"),
        (("training.mesh.table=x",), "training.mesh.table='x' has the wrong type"),
        (("training.mesh.table=[",), "training.mesh.table='[' has the wrong type"),
        (("training.mesh.table=3",), "training.batch_size=256 is not a multiple of 3"),
        ((), "training.mesh.data=1 training.mesh.table=1 already; its command goes on"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(words, message, paused, capsys):
    files = sorted(paused.parent.rglob("*"))
    assert tiny.command("remesh", str(paused), *words) == 2
    assert message in capsys.readouterr().err
    assert sorted(paused.parent.rglob("*")) == files


def test_a_run_without_a_state_is_refused(paused, tmp_path, capsys):
    copy = tiny.copy_run(paused, tmp_path)
    for path in (copy / "checkpoints").glob("*.json"):
        path.unlink()
    assert tiny.command("remesh", str(copy), *TABLE) == 2
    assert "has no checkpoint yet; train from the start" in capsys.readouterr().err
    assert tiny.command("remesh", str(tmp_path / "none"), *TABLE) == 2
    assert "none is not a folder" in capsys.readouterr().err


def test_a_damaged_state_and_a_folder_that_is_there_are_refused(
    paused, tmp_path, capsys
):
    copy = tiny.copy_run(paused, tmp_path)
    (notes,) = (copy / "checkpoints").glob("*.json")
    text = notes.read_text()
    notes.write_text(text.replace("step", "stop"))
    assert tiny.command("remesh", str(copy), *TABLE) == 2
    assert "cannot be read (its notes are damaged)" in capsys.readouterr().err
    assert [one.name for one in copy.parent.iterdir()] == [copy.name]

    notes.write_text(text)
    made = remeshed(copy, *TABLE)
    files = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert tiny.command("remesh", str(copy), *TABLE) == 2
    assert "is there, and nothing of it is overwritten" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == files


def test_a_run_that_trains_or_has_finished_is_refused(paused, tmp_path, capsys):
    copy = tiny.copy_run(paused, tmp_path)
    with held(copy, False, print):
        assert tiny.command("remesh", str(copy), *TABLE) == 3
    assert "is in use by process" in capsys.readouterr().err
    words = ("train", *tiny.SMALL, f"output={tmp_path / 'outputs'}")
    assert tiny.command(*words) == 0
    assert tiny.command("remesh", str(copy), *TABLE) == 2
    assert "has finished: evaluate and export read it" in capsys.readouterr().err


def test_a_command_keeps_its_other_words():
    command = "twotower train --join 127.0.0.1:9,2,0 'a=[1,2]' training.devices=4 b=c"
    words = [*BOTH, "training.devices=1"]
    assert (
        with_words(command, words) == f"twotower train 'a=[1,2]' b=c {' '.join(words)}"
    )


def test_arrays_are_not_stored_twice(paused, tmp_path):
    made = remeshed(tiny.copy_run(paused, tmp_path), *TABLE)
    files = [path for path in made.glob("checkpoints/20/**/*") if path.is_file()]
    assert files and all(path.stat().st_nlink == 2 for path in files)
    assert (made / "metrics.jsonl").stat().st_nlink == 1
