"""What arms choose on validation: points, winners, edges, the files beside a study."""

import json

import polars as pl
import pytest

from twotower_jax.errors import InputError
from twotower_jax.report.selected import chosen_lines, selection_section
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.selection import (
    ArmChoice,
    Selection,
    Trial,
    choose,
    edges,
    grid_points,
    grid_size,
    read_selection,
    tuned_alike,
    write_selection,
)

AXES = {"loss.temperature": ["0.05", "0.1", "0.2"], "loss": ["bce", "hinge"]}


def trials(*values):
    points = grid_points(AXES)
    return tuple(Trial(p, tuple(v)) for p, v in zip(points, values, strict=False))


def test_the_grid_is_every_pair_once():
    points = grid_points(AXES)
    assert len(points) == grid_size(AXES) == 6
    assert len({tuple(point.values()) for point in points}) == 6
    assert points[0] == {"loss.temperature": "0.05", "loss": "bce"}
    assert points[1] == {"loss.temperature": "0.05", "loss": "hinge"}


@pytest.mark.parametrize("budget", [1, 3, 5])
def test_a_budget_is_some_points_in_their_order(budget):
    every, drawn = grid_points(AXES), grid_points(AXES, budget, seed=1)
    assert len(drawn) == budget
    assert [point for point in every if point in drawn] == drawn
    assert grid_points(AXES, budget, seed=1) == drawn


def test_budgets_draw_all_points_alike_and_never_more_than_there_are():
    first = [grid_points(AXES, 1, seed)[0] for seed in range(60)]
    assert all(point in first for point in grid_points(AXES))
    assert grid_points(AXES, 7) == grid_points(AXES)


def test_the_best_mean_wins_and_of_equal_ones_the_first():
    assert choose(trials([0.1, 0.2], [0.3, 0.1], [0.2, 0.2]), 2) == 1
    assert choose(trials([0.5], [0.5]), 1) == 0
    # One lucky run does not win over two that are as good on the mean.
    assert choose(trials([0.9], [0.1, 0.2]), 2) == 1
    assert choose(trials([0.9], []), 2) is None
    assert choose((), 2) is None


def test_numbers_have_edges_and_names_have_none():
    found = trials([0.1], [0.2], [0.3], [0.1], [0.1], [0.1])
    assert edges(AXES, ArmChoice("a", found, 2)) == []
    assert edges(AXES, ArmChoice("a", found, 1)) == ["loss.temperature=0.05 (smallest)"]
    assert edges(AXES, ArmChoice("a", found, 5)) == ["loss.temperature=0.2 (largest)"]
    assert edges(AXES, ArmChoice("a", found, None)) == []


def test_an_arm_with_equal_trials_is_on_no_edge():
    assert edges(AXES, ArmChoice("popularity", trials(*[[0.1, 0.1]] * 6), 0)) == []


def make(**changes):
    found = trials([0.1, 0.2], [0.2, 0.3], [0.1, 0.1], [0.4], [0.1, 0.1], [0.1, 0.1])
    arms = (ArmChoice("a", found, 1, ("r0", "r1")), ArmChoice("<b>", trials([]), None))
    values = {"metric": "recall@20", "axes": AXES, "tune_seeds": (7, 8)}
    return Selection(**values | {"seeds": (0, 1), "arms": arms} | changes)


def test_the_files_hold_all_trials(tmp_path):
    selection = make()
    write_selection(selection, tmp_path)
    assert read_selection(tmp_path) == selection
    table = pl.read_csv(tmp_path / "select.csv")
    assert len(table) == 7 and table.filter("chosen")["arm"].to_list() == ["a"]
    row = table.filter("chosen").row(0, named=True)
    assert row["mean"] == pytest.approx(0.25) and row["runs"] == 2
    assert row["sd"] == pytest.approx(0.5**0.5 * 0.1)
    assert (row["loss.temperature"], row["loss"]) == (0.05, "hinge")
    assert read_selection(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "change",
    [
        {"arms": 3},
        {"axes": []},
        {"seeds": ["x"]},
        {"arms": [{"arm": "a", "trials": [], "chosen": 0, "runs": []}]},
    ],
)
def test_a_broken_file_is_named(tmp_path, change):
    write_selection(make(), tmp_path)
    path = tmp_path / "select.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"select\.json is broken; remove it"):
        read_selection(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"select\.json is broken; remove it"):
        read_selection(tmp_path)


def test_a_study_is_tuned_alike_if_its_selection_chose_every_run(tmp_path):
    def finish(run):
        (tmp_path / run).mkdir()
        (tmp_path / run / "result.json").write_text("{}")

    finish("r0")
    assert tuned_alike(tmp_path) is None
    write_selection(make(), tmp_path)
    sentence = "tuned: 6 trials per arm on validation, seeds 7, 8"
    assert tuned_alike(tmp_path) == sentence
    (tmp_path / "select").mkdir()  # runs on validation are no arms
    assert tuned_alike(tmp_path) == sentence
    finish("untuned")
    assert tuned_alike(tmp_path) is None


def section(folder, runs):
    """Return the section for a study of runs, {folder: arm}, as one text."""
    finished = [Run(folder / name, name, 0, {}, {}, {}) for name in runs]
    table = pl.DataFrame({"run": list(runs), "arm": list(runs.values())})
    return " ".join(selection_section(Runs((folder,), finished, []), table))


def test_the_report_shows_the_tuning(tmp_path):
    assert section(tmp_path, {"r0": "A"}) == ""
    write_selection(make(), tmp_path)
    text = section(tmp_path, {"r0": "A", "r1": "A"})
    assert "<h2>Tuning</h2>" in text and "with seeds 7, 8" in text
    assert "all 6 points for every arm" in text and "other seeds, 0, 1" in text
    # The arm has its name of the other tables; its one half-finished point is counted.
    assert ">A</td><td>6, 1 failed</td><td>2</td>" in text
    assert "loss.temperature=0.05 loss=hinge</td><td>0.2500 ± 0.0707" in text
    assert "A is best on the edge of the grid, at loss.temperature=0.05" in text
    assert "nothing: no point was finished" in text and "&lt;b&gt;" in text
    assert "more runs" not in text


def test_runs_that_were_tested_without_being_chosen_are_counted(tmp_path):
    write_selection(make(), tmp_path)
    text = section(tmp_path, {"r0": "A", "r1": "A", "old": "A", "older": "A"})
    assert "2 more runs of this folder were tested that this selection did not" in text


def test_the_console_names_winners_and_edges():
    title, first, second = chosen_lines(make())
    assert "by recall@20, all 6 points for every arm" in title
    assert first.endswith("on the edge of the grid: loss.temperature=0.05 (smallest)")
    assert "0.2500 ± 0.0707" in first
    assert second.endswith("nothing: no point was finished by all its runs -")
