"""No file outside of ``output``, and no program that a file or folder names."""

import subprocess
import sys

import pytest
from helpers import tiny

import twotower_jax
from twotower_jax.config import Config
from twotower_jax.errors import InputError

NAMES = ["../outside", "..", "a/../../outside", "/tmp/outside", "a//b", "", "a\\b"]


@pytest.mark.parametrize("name", [*NAMES, "a" * 5_000, "a\nb"])
def test_a_name_stays_below_the_output(name):
    with pytest.raises(InputError, match="name=") as error:
        Config(name=name)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("mode", [(), ("-m",)], ids=["run", "sweep"])
@pytest.mark.parametrize("name", ["../../outside", ".."])
def test_the_command_writes_nothing_outside(name, mode, tmp_path, capsys):
    output = tmp_path / "a" / "outputs"
    words = ("train", *mode, *tiny.SMALL, f"output={output}", f"name={name}")
    assert tiny.command(*words) == 2
    assert f"name='{name}' leads out of its folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_run_of_a_sweep_begins_where_one_has_a_name_outside(tmp_path, capsys):
    output = tmp_path / "a" / "outputs"
    words = ("train", "-m", *tiny.SMALL, f"output={output}")
    assert tiny.command(*words, "name=a,../b") == 2
    assert "name='../b' leads out of its folder" in capsys.readouterr().err
    assert tiny.command(*words, "hydra.sweep.subdir=../../z") == 2
    assert "runs name their folders themselves" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*/*/*")) and not (tmp_path / "z").exists()


def test_a_column_does_not_name_a_variable(tmp_path, capsys, monkeypatch):
    """The header of a file is text, and is read as such by the command shown."""
    monkeypatch.setenv("SECRET", "hush1234")
    name = "${oc.env:SECRET}"
    rows = "".join(f"{n % 40},{7 * n % 31}\n" for n in range(900))
    (tmp_path / "log.csv").write_text(f"user,{name}\n{rows}")
    assert tiny.command("data", "check", str(tmp_path / "log.csv")) == 0
    printed, error = capsys.readouterr()
    assert "hush1234" not in printed + error and name in printed
    log = twotower_jax.read_log(tmp_path / "log.csv")
    assert log.config.data.columns.item == name


def test_a_pickle_is_not_run(tmp_path, capsys):
    path = tmp_path / "job.pickle"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/ran'\ntR.")
    assert tiny.command("train", "--experimental-rerun", str(path)) == 2
    assert "would run what a pickle names" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("search", ["--config-dir", "word"])
@pytest.mark.parametrize("command", ["train", "advise", "audit"])
def test_a_file_of_configuration_names_no_program(command, search, tmp_path, capsys):
    (tmp_path / "arms").mkdir()
    (tmp_path / "arms" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  callbacks:\n    mine:\n"
        f"      _target_: subprocess.getoutput\n      cmd: touch {tmp_path}/ran\n"
    )
    places = ("--config-dir", str(tmp_path))
    if search == "word" and command != "advise":  # which takes no arms
        places = (f"hydra.searchpath=[file://{tmp_path}]",)
    assert tiny.command(command, *places, f"output={tmp_path}", "arms=mine") == 2
    assert "_target_: subprocess.getoutput names a program" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


# A section that would run `ran()` of evil.py, and a part of the message.
EVIL = {
    "an import by Hydra": (
        "x: {_target_: hydra.utils.get_object, path: evil.ran}",
        "_target_: hydra.utils.get_object names a program",
    ),
    "a section from a text": (
        "x: \"${oc.decode:'{_target_: evil.ran}'}\"",
        "makes a section of a text",
    ),
    "a resolver with a name that is computed": (
        "x: \"${oc.${name}:'{_target_: evil.ran}'}\"",
        "makes a section of a text",
    ),
    "beside a date that is none": (
        "x: {_target_: evil.ran, day: 2024-13-40}",
        "_target_: evil.ran names a program",
    ),
    "a computed name": (
        "x: {_target_: '${oc.env:HOME}'}",
        "_target_: ${oc.env:HOME} names a program",
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_a_file_of_configuration_runs_nothing(name, tmp_path, capsys, monkeypatch):
    section, message = EVIL[name]
    folder, ran = tmp_path / "conf", tmp_path / "ran"
    (folder / "arms").mkdir(parents=True)
    text = f"# @package _global_\nhydra:\n  callbacks:\n    {section}\n"
    (folder / "arms" / "mine.yaml").write_text(text)
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\ndef ran(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--config-dir", str(folder), f"output={tmp_path}/out", "arms=mine")
    assert tiny.command("train", *words) == 2
    assert message in capsys.readouterr().err
    assert not ran.exists()


def test_a_file_behind_a_link_and_a_search_path_are_refused(tmp_path, capsys):
    folder, other = tmp_path / "conf", tmp_path / "other"
    folder.mkdir(), other.mkdir()
    (other / "mine.yaml").write_text("x: {_target_: evil.ran}\n")
    (folder / "arms").symlink_to(other)
    words = ("train", "--config-dir", str(folder), f"output={tmp_path}/out")
    assert tiny.command(*words) == 2
    assert "_target_: evil.ran names a program" in capsys.readouterr().err
    (other / "mine.yaml").unlink()
    (folder / "mine.yaml").write_text("hydra: {searchpath: ['file:///tmp']}\n")
    assert tiny.command(*words, "--config-name=mine") == 2
    assert "names another folder of files" in capsys.readouterr().err


def test_a_broken_file_of_configuration_is_named(tmp_path, capsys):
    (tmp_path / "arms").mkdir()
    (tmp_path / "arms" / "mine.yaml").write_text("# @package _global_\na: b: c\n")
    words = ("--config-dir", str(tmp_path), f"output={tmp_path}/out", "arms=mine")
    assert tiny.command("train", *words) == 2
    shown = capsys.readouterr().err
    assert "mine.yaml" in shown and shown.count("\n") == 1


def test_ordinary_files_of_configuration_are_read(tmp_path, capsys):
    (tmp_path / "arms").mkdir()
    (tmp_path / "compose.yaml").write_text("image: ${IMAGE:-python}\n")
    (tmp_path / "broken.yaml").write_text("{{ values }}: {\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "arms" / "mine.yaml").write_text(
        "# @package _global_\narm: seed ${seed} of ${oc.env:HOME}\n"
    )
    words = (*tiny.SMALL, "--config-dir", str(tmp_path), f"output={tmp_path}/out")
    assert tiny.command("train", *words, "arms=mine", "training.steps=10") == 0


def test_plugins_of_the_working_directory_are_not_imported(tmp_path):
    folder = tmp_path / "hydra_plugins" / "mine"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    words = [sys.executable, "-m", "twotower_jax", "train", "seed=x"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert not (tmp_path / "ran").exists()


def test_a_name_that_looks_like_markup_is_printed_as_it_is(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "name='[red]a[/x]'")
    assert tiny.command(*words, "training.steps=1") == 2
    assert f"{tmp_path}/[red]a[/x]/" in capsys.readouterr().err.replace("\n", "")


def test_a_file_that_cannot_be_written_is_one_message(tmp_path, capsys):
    (tmp_path / "simulator").write_text("a file, no folder")
    assert tiny.command("train", *tiny.SMALL, f"output={tmp_path}") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and str(tmp_path) in error
    assert len(error.splitlines()) == 1
