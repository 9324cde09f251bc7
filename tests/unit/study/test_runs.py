"""Which folders are the finished runs of a study, and which are skipped or refused."""

import json
import shutil

import pytest
from helpers.run_folders import two_arms, write_run

from twotower_jax.errors import InputError
from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import study_table, summary


@pytest.fixture
def folder(tmp_path):
    return two_arms(tmp_path)


def test_folders_that_are_no_finished_run_are_named_with_reasons(folder):
    (folder / "notes").mkdir()
    for name in ("failed", "running", "torn", "odd", "plain", "nested", "loop"):
        write_run(folder / name, {}, 9, {"recall@20": 1.0})
    status = {"status": "failed", "reason": "loss is not finite"}
    (folder / "failed/status.json").write_text(json.dumps(status))
    (folder / "running/status.json").write_text('{"status": "running"}')
    (folder / "torn/result.json").write_text('{"metrics": {"te')
    (folder / "odd/result.json").write_text('{"metrics": {"test": {"recall@20": "x"}}}')
    (folder / "plain/manifest.json").unlink()
    (folder / "nested/config.yaml").write_text("a: !!python/object:os.system {}")
    (folder / "loop/config.yaml").write_text("a: &a {b: *a}")
    runs = read_runs(folder)
    assert [run.path.name for run in runs.finished] == ["a0", "a1", "a2", "b0"]
    assert dict(runs.skipped) == {
        "failed": "status is failed: loss is not finite",
        "loop": "config.yaml cannot be read (ValueError)",
        "nested": "config.yaml cannot be read (ValueError)",
        "notes": "not a run: it lacks config.yaml or status.json",
        "odd": "result.json holds no table of metrics",
        "plain": "it lacks manifest.json",
        "running": "status is running",
        "torn": "result.json cannot be read (JSONDecodeError)",
    }


def test_copy_of_a_run_does_not_count_as_another_seed(folder):
    shutil.copytree(folder / "a0", folder / "a0_copy")
    assert read_runs(folder).skipped == [("a0_copy", "the same arm and seed as a0")]


def test_runs_on_different_data_are_refused(folder):
    write_run(folder / "c0", {}, 0, {"recall@20": 1.0}, fingerprint="bbbb")
    with pytest.raises(InputError, match=r"a0 is aaaa, that of \S+c0 is bbbb; set"):
        read_runs(folder)


def test_one_configuration_under_two_labels_is_refused(tmp_path):
    for name, arm, seed in (("a0", "first", 0), ("b0", "second", 1)):
        config = {"arm": arm, "loss": {"temperature": 0.1}}
        write_run(tmp_path / name, config, seed, {"recall@20": 0.1})
    message = r"arms 'first' \(\S+a0\) and 'second' \(\S+b0\) are one configuration"
    with pytest.raises(InputError, match=message):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "result.json"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "{a: 1}", '{"metrics": {"test": 3}}'])
def test_file_without_its_keys_skips_the_run(folder, name, text):
    (folder / "b0" / name).write_text(text + "\n")
    runs = read_runs(folder)
    known = name == "config.yaml" and text in ("{a: 1}", '{"metrics": {"test": 3}}')
    # A configuration may have any keys; result.json has the seed.
    assert [one for one, _ in runs.skipped] == ([] if known else ["b0"])
    assert study_table(runs).height


# --- several folders ------------------------------------------------------------------


def test_runs_of_several_folders_are_one_study(tmp_path):
    first, second = tmp_path / "x/same", tmp_path / "y/same"
    for folder, value in ((first, 0.1), (second, 0.2)):
        config = {"loss": {"temperature": value}}
        write_run(folder / "r0", config, 0, {"recall@20": value})
    copied = second / "copied"
    shutil.copytree(first / "r0", copied)
    runs = read_runs(first, second, first)
    assert runs.folders == (first, second)
    assert [run.name for run in runs.finished] == [f"{first}/r0", f"{second}/r0"]
    reason = f"the same arm and seed as {first / 'r0'}"
    assert runs.skipped == [(str(copied), reason)]
    means = summary(study_table(runs), ["recall@20", "seconds"]).rows()
    assert [row[2] for row in means] == [0.1, 10.0, 0.2, 10.0]


def test_one_configuration_on_changed_data_is_refused(tmp_path):
    for folder, data in (("x", "aaaa"), ("y", "bbbb")):
        write_run(tmp_path / folder / "r0", {"a": 1}, 0, {"recall@20": 0.1}, data)
    with pytest.raises(InputError, match=r"x/r0 is aaaa, that of \S+y/r0 is bbbb"):
        read_runs(tmp_path / "x", tmp_path / "y")


def test_folders_of_different_data_are_refused_by_name(tmp_path):
    write_run(tmp_path / "x/r0", {"a": 1}, 0, {"recall@20": 0.1}, "aaaa")
    write_run(tmp_path / "y/r1", {"a": 2}, 0, {"recall@20": 0.1}, "bbbb")
    with pytest.raises(InputError, match=r"x/r0 is aaaa, that of \S+y/r1 is bbbb; set"):
        read_runs(tmp_path / "x", tmp_path / "y")


def test_folder_without_finished_run_lists_the_reasons(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(
        InputError, match=r"no finished run in \S+ \(x: not a run.*sweep into"
    ):
        read_runs(tmp_path)


def test_folder_of_one_run_points_to_the_folder_above(folder):
    with pytest.raises(InputError, match="a0 is one run; give the folder above it"):
        read_runs(folder / "a0")


def test_a_folder_of_studies_points_to_one_of_them(tmp_path):
    study = tmp_path / "study"
    two_arms(study)
    with pytest.raises(InputError, match=rf"finished runs, such as {study}$"):
        read_runs(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_runs(tmp_path / "nowhere")


def test_a_run_from_before_a_key_was_made_is_of_the_same_arm(tmp_path):
    """It did what the default of the key does."""
    for seed, keys in enumerate(({}, {"stage_pairs": 0.0})):
        config = {"loss": {"temperature": 0.1} | keys}
        write_run(tmp_path / f"r{seed}", config, seed, {"recall@20": 0.1})
    write_run(tmp_path / "other", {"loss": {"stage_pairs": 1.0}}, 0, {"recall@20": 0.1})
    table = study_table(read_runs(tmp_path)).unique(["arm", "seed"])
    assert sorted(table.group_by("arm").len()["len"]) == [1, 2]
