"""The files of a run: whole or not there, and lines that end at the resumed step."""

import json
import math

import polars as pl
import pytest

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.text_files import write_json
from twotower_jax.errors import InputError
from twotower_jax.run.folder import RunFolder, run_folder, stored_config

COUNTS = ("steps", "best_step", "seconds", "examples_per_second")


@pytest.fixture
def record(tmp_path):
    for step in (10, 20, 30):
        RunFolder(tmp_path).add_metrics({"step": step, "loss": 1 / step})
    return RunFolder(tmp_path)


def steps(record):
    text = (record.path / "metrics.jsonl").read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line)["step"] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("last", "kept"),
    [(-1, []), (9, []), (10, [10]), (25, [10, 20]), (99, [10, 20, 30])],
)
def test_lines_after_a_step_are_dropped(record, last, kept):
    before = (record.path / "metrics.jsonl").read_text().splitlines()
    record.keep_metrics(last)
    assert steps(record) == kept
    assert (record.path / "metrics.jsonl").read_text().splitlines() == before[
        : len(kept)
    ]


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_line_that_a_kill_cut_off_is_dropped(record, cut):
    path = record.path / "metrics.jsonl"
    line = json.dumps({"step": 40, "loss": 0.025})
    with path.open("a") as file:
        file.write(line[:cut])
    record.keep_metrics(100)
    assert steps(record) == [10, 20, 30]
    record.add_metrics({"step": 40})
    assert steps(record) == [10, 20, 30, 40]


def test_a_last_line_without_its_end_is_kept_whole(record):
    path = record.path / "metrics.jsonl"
    path.write_text(path.read_text().rstrip("\n"))
    record.keep_metrics(100)
    record.add_metrics({"step": 40})
    assert steps(record) == [10, 20, 30, 40]


def test_without_lines_there_is_nothing_to_drop(tmp_path):
    RunFolder(tmp_path).keep_metrics(5)
    assert not list(tmp_path.iterdir())


def test_floats_keep_their_bits(tmp_path):
    values = {"x": 0.1 + 0.2, "y": 1 / 3, "z": 5e-324, "w": 1.7976931348623157e308}
    result = {"metrics": {"test": values}, "steps": 1, "best_step": 1, "seconds": 0.5}
    result["examples_per_second"] = None
    RunFolder(tmp_path).write("result", result)
    assert RunFolder(tmp_path).read("result") == result


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("status", {}, "status"),
        ("status", {"status": None}, "status"),
        ("manifest", {"seed": 3}, "data_fingerprint"),
        ("result", {}, "metrics"),
        ("result", {"metrics": {"test": {}}, "steps": "9"}, "steps"),
        ("result", {"metrics": {}, **dict.fromkeys(COUNTS, 1)}, "metrics"),
        ("result", {"metrics": {"test": 3}, **dict.fromkeys(COUNTS, 1)}, "metrics"),
    ],
)
def test_file_without_its_keys_is_named(tmp_path, name, values, key):
    write_json(tmp_path / f"{name}.json", values)
    message = rf"{name}\.json is broken: {key} is missing .* or remove its folder"
    with pytest.raises(InputError, match=message):
        RunFolder(tmp_path).read(name)


def test_broken_records_are_left_out_and_counted(record):
    path = record.path / "metrics.jsonl"
    before = path.read_text()
    path.write_text(before + '{"stp": 40}\n{"step": 50}\n{"step": 60, "lo')
    assert [one["step"] for one in record.metrics()] == [10, 20, 30, 50]
    # The last line was cut off by a kill.
    assert record.keep_metrics(99) == 1
    assert path.read_text() == before + '{"step": 50}\n'
    assert record.keep_metrics(30) == 0 and path.read_text() == before
    assert RunFolder(record.path / "none").metrics() == []


@pytest.mark.parametrize("there", [True, False])
def test_metrics_are_not_written_through_a_link(tmp_path, there):
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    if there:
        outside.write_text("")
    (run / "metrics.jsonl").symlink_to(outside)
    RunFolder(run).keep_metrics(0)
    RunFolder(run).add_metrics({"step": 1})
    assert RunFolder(run).metrics() == [{"step": 1}]
    assert outside.exists() == there and (not there or outside.read_text() == "")


def test_a_table_appears_whole(tmp_path, monkeypatch):
    record = RunFolder(tmp_path)
    table = pl.DataFrame({"user": ["ä", "b"], "recall@20": [0.5, math.nan]})
    record.write_table("queries.parquet", table)
    assert [one.name for one in tmp_path.iterdir()] == ["queries.parquet"]
    assert pl.read_parquet(tmp_path / "queries.parquet").equals(table)


def test_status(tmp_path):
    record = RunFolder(tmp_path / "new")
    assert not record.is_done() and record.read("status") is None
    record.set_status("running")
    assert not record.is_done()
    record.set_status("failed", "why")
    assert record.read("status") == {"status": "failed", "reason": "why"}
    record.set_status("done")
    assert record.is_done()


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null"])
def test_broken_files_are_named(tmp_path, text):
    record = RunFolder(tmp_path)
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(InputError, match=r"status\.json is broken"):
        record.is_done()
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml is broken"):
        record.config()


def test_a_stored_configuration_is_data_only(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: !!python/object/apply:os.getpid []")
    with pytest.raises(InputError, match=r"config\.yaml is broken"):
        RunFolder(tmp_path).config()


def test_the_folder_of_a_run_depends_on_its_configuration():
    config = Config(output="out", name="study", seed=3)
    assert run_folder(config).parts == ("out", "study", fingerprint(config))


def test_an_unfinished_run_is_named_with_its_status_and_its_command(tmp_path):
    record = RunFolder(tmp_path)
    with pytest.raises(InputError, match=r"no finished run \(status.json is missing\)"):
        record.result()
    command = "twotower train seed=1"
    record.write("manifest", {"command": command, "data_fingerprint": "a"})
    record.set_status("running")
    with pytest.raises(InputError, match=rf"\(status: running\); .* first: {command}$"):
        record.result()
    record.set_status("failed", "the loss is NaN\nat step 3")
    with pytest.raises(InputError, match=r"\(status: failed, the loss is NaN\); run"):
        record.result()


def test_a_folder_that_is_no_run_points_to_one(tmp_path):
    study = tmp_path / "outputs" / "study"
    for name in ("b", "a"):
        RunFolder(study / name).write_config(Config(seed=1))
        RunFolder(study / name).write("result", {})
    (study / "none").mkdir()
    (study / "none" / "result.json").write_text("{}")
    for folder in (study, tmp_path / "outputs"):
        with pytest.raises(InputError, match=rf"no config.yaml; .*such as {study}/a$"):
            stored_config(folder)
    with pytest.raises(InputError, match="no config.yaml; .* such as outputs/NAME/HA"):
        stored_config(study / "none")
    for name in ("nowhere", "outputs/study/none/result.json"):
        with pytest.raises(InputError, match="is not a folder; give the folder of one"):
            stored_config(tmp_path / name)


def test_a_broken_configuration_is_named_once(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: [")
    with pytest.raises(InputError) as caught:
        stored_config(tmp_path)
    assert str(caught.value).count("config.yaml") == 1
