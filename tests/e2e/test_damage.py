"""Files of a run that were damaged or changed are refused, or not used, by name."""

import json
import shutil

import numpy as np
import pytest
from helpers import tiny
from rich.console import Console

from twotower_jax.errors import InputError
from twotower_jax.run.evaluate import evaluate_run
from twotower_jax.run.execute import run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.study.runs import read_runs

# The best validation is not the last one, so that two states are kept.
WORDS = ("optimizer.learning_rate=3", "seed=0")


def configured(output, *words):
    return tiny.make_config(output, *WORDS, *words)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run without interruption."""
    config = configured(tmp_path_factory.mktemp("whole"))
    run(config)
    return run_folder(config)


@pytest.fixture(scope="module")
def paused_once(tmp_path_factory):
    """The folder of a run that pauses after two states were saved."""
    config = configured(tmp_path_factory.mktemp("paused"), "pause=30")
    run(config)
    return run_folder(config)


@pytest.fixture
def paused(paused_once, tmp_path):
    """A copy of that folder."""
    return tiny.copy_run(paused_once, tmp_path)


def steps(path):
    found = (path / "checkpoints").iterdir()
    return sorted(int(one.name) for one in found if one.is_dir())


def notes(path, step):
    return path / "checkpoints" / f"{step}.json"


def go_on(path, capsys):
    """Run the command of a paused run; return what it printed."""
    config = configured(path.parents[1])
    assert run_folder(config) == path
    run(config, console=Console(width=300))
    return capsys.readouterr().out


def emptied(text):
    return ""


def without_notes(text):
    return json.dumps(json.loads(text) | {"notes": {}})


def other_best(text):
    return text.replace('"best_step":', '"best_stop":')


def other_value(text):
    return text.replace('"last_step": ', '"last_step": 1')


@pytest.mark.parametrize(
    "damage",
    [emptied, without_notes, other_best, other_value],
    ids=lambda f: f.__name__,
)
def test_notes_that_are_damaged_lead_back_to_the_checkpoint_before(
    damage, paused, whole, capsys
):
    before, last = steps(paused)
    file = notes(paused, last)
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    printed = go_on(paused, capsys)
    assert f"not used: the checkpoint {paused}/checkpoints/{last}" in printed
    assert f"resuming at step {before}" in printed
    assert_equal(paused, whole)


def assert_equal(path, whole):
    """Compare a run with one without damage, to the bit."""
    mine, other = (tiny.read_json(one / "result.json") for one in (path, whole))
    assert mine["metrics"] == other["metrics"]
    assert mine["best_step"] == other["best_step"]
    logs = [tiny.read_lines(one / "metrics.jsonl") for one in (path, whole)]
    for log in logs:
        for record in log:
            del record["seconds"]
    assert logs[0] == logs[1]


def test_without_a_whole_checkpoint_the_run_is_refused(paused, capsys):
    for step in steps(paused):
        notes(paused, step).write_text("{}")
    with pytest.raises(InputError, match="remove its folder to train from the start"):
        go_on(paused, capsys)
    assert len(steps(paused)) == 2  # nothing is lost


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_of_a_state_changes_no_result(paused, whole, capsys):
    rng = np.random.default_rng(0)
    kept = paused.with_name("kept")
    shutil.copytree(paused, kept)
    last = max(steps(paused))
    files = sorted(
        one.relative_to(paused)
        for one in (paused / "checkpoints").glob(f"{last}*/**/*")
        if one.is_file() and one.stat().st_size
    )
    files.append(notes(paused, last).relative_to(paused))
    for name in files:
        shutil.rmtree(paused)
        shutil.copytree(kept, paused)
        content = bytearray((paused / name).read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (paused / name).write_bytes(content)
        assert f"not used: the checkpoint {paused}/checkpoints/{last}" in go_on(
            paused, capsys
        )
        assert_equal(paused, whole)
    assert len(files) > 3


def test_a_checkpoint_of_another_seed_is_refused(paused, tmp_path, capsys):
    config = configured(paused.parents[1], "seed=1")
    shutil.copytree(paused / "checkpoints", run_folder(config) / "checkpoints")
    with pytest.raises(InputError, match="it is of the run"):
        run(config)


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of the finished run, in the folder of a study."""
    return tiny.copy_run(whole, tmp_path)


@pytest.mark.parametrize(
    "name", ["config.yaml", "manifest.json", "queries.parquet", "result.json"]
)
def test_a_finished_run_whose_file_was_changed_is_not_returned(name, finished):
    content = bytearray((finished / name).read_bytes())
    content[len(content) // 2] ^= 1
    (finished / name).write_bytes(content)
    config = configured(finished.parents[1])
    with pytest.raises(InputError, match=f"{name} is (broken|not as the run wrote it)"):
        RunFolder(finished).result()
    with pytest.raises(InputError, match=name):
        run(config)
    with pytest.raises(InputError, match=name):
        evaluate_run(config, finished)


def test_the_report_names_a_damaged_run_and_leaves_it_out(finished, whole):
    shutil.copytree(whole, finished.with_name("whole"))
    (finished / "queries.parquet").write_bytes(b"PAR1")
    runs = read_runs(finished.parent)
    assert [one.path.name for one in runs.finished] == ["whole"]
    ((name, reason),) = runs.skipped
    assert name == finished.name
    assert reason == "queries.parquet is not as the run wrote it (another checksum)"


def test_parameters_that_were_damaged_are_not_evaluated(finished):
    (params,) = (finished / "checkpoints").glob("*-params")
    config = configured(finished.parents[1])
    (part,) = (params / "state").glob("manifest*")
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"{part.name} is damaged"):
        evaluate_run(config, finished)
    part.write_bytes(content)
    evaluate_run(config, finished)
    (finished / "checkpoints" / f"{params.name}.json").unlink()
    with pytest.raises(InputError, match=f"{params.name}.json is missing"):
        evaluate_run(config, finished)


def test_the_parts_of_a_training_stay_in_the_manifest(paused, capsys):
    made = tiny.read_json(paused / "manifest.json")
    made["versions"]["jax"] = "0.0.1"
    (paused / "manifest.json").write_text(json.dumps(made))
    assert "the steps so far were made with jax 0.0.1, now" in go_on(paused, capsys)
    after = tiny.read_json(paused / "manifest.json")
    assert [one["versions"]["jax"] for one in after["earlier"]] == ["0.0.1"]
    assert after["versions"]["jax"] != "0.0.1"


def test_a_state_that_is_no_word_of_ours_is_refused(finished):
    (finished / "status.json").write_text('{"status": "dnne", "reason": null}')
    with pytest.raises(InputError, match="status is missing or of another kind"):
        run(configured(finished.parents[1]))
