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


@pytest.mark.parametrize("trials", [1, 3, 5])
def test_trials_are_some_points_in_their_order(trials):
    every, drawn = grid_points(AXES), grid_points(AXES, trials, seed=1)
    assert len(drawn) == trials
    assert [point for point in every if point in drawn] == drawn
    assert grid_points(AXES, trials, seed=1) == drawn


def test_trials_draw_all_points_alike_and_never_more_than_there_are():
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

    def ends(chosen):
        return edges(ArmChoice("a", AXES, found, chosen))

    assert ends(2) == ends(None) == []
    assert ends(1) == ["loss.temperature=0.05 (smallest)"]
    assert ends(5) == ["loss.temperature=0.2 (largest)"]


def test_an_arm_with_equal_trials_is_on_no_edge():
    assert edges(ArmChoice("popularity", AXES, trials(*[[0.1, 0.1]] * 6), 0)) == []


def test_the_end_of_the_range_of_a_key_is_no_edge():
    """No share of hard negatives lies below 0, but some lie above a half."""
    axes = {"negatives.hard_ratio": ["0", "0.25", "0.5"]}
    found = tuple(
        Trial(point, (value,))
        for point, value in zip(grid_points(axes), (0.1, 0.2, 0.3), strict=True)
    )
    assert edges(ArmChoice("a", axes, found, 0)) == []
    (end,) = edges(ArmChoice("a", axes, found, 2))
    assert end == "negatives.hard_ratio=0.5 (largest)"


LOSSES = {"loss": ["bce", "hinge"]}


def make(**changes):
    found = trials([0.1, 0.2], [0.2, 0.3], [0.1, 0.1], [0.4], [0.1, 0.1], [0.1, 0.1])
    arms = (
        ArmChoice("a", AXES, found, 1, ("r0", "r1")),
        ArmChoice("<b>", LOSSES, (Trial({"loss": "bce"}, ()),) * 2, None),
        ArmChoice("c", {}, (Trial({}, (0.1, 0.1)),), 0, ("r2",)),
    )
    values = {"metric": "recall@20", "tune_seeds": (7, 8), "seeds": (0, 1)}
    return Selection(**values | {"arms": arms} | changes)


def test_the_files_hold_all_trials(tmp_path):
    selection = make(limit=6, source="outputs/other/select.json")
    write_selection(selection, tmp_path)
    assert read_selection(tmp_path) == selection
    values = json.loads((tmp_path / "select.json").read_text())
    assert values["arms"][0]["edges"] == ["loss.temperature=0.05 (smallest)"]
    assert values["arms"][1]["edges"] == values["arms"][2]["edges"] == []
    table = pl.read_csv(tmp_path / "select.csv")
    assert len(table) == 9 and table.filter("chosen")["arm"].to_list() == ["a", "c"]
    row = table.filter("chosen").row(0, named=True)
    assert row["mean"] == pytest.approx(0.25) and row["runs"] == 2
    assert row["sd"] == pytest.approx(0.5**0.5 * 0.1)
    assert (row["loss.temperature"], row["loss"]) == (0.05, "hinge")
    assert read_selection(tmp_path / "elsewhere") is None


def test_a_file_with_one_grid_for_all_arms_is_read(tmp_path):
    """As earlier versions wrote it."""
    write_selection(make(), tmp_path)
    path = tmp_path / "select.json"
    values = json.loads(path.read_text())
    del values["sha256"]
    for one in values["arms"]:
        del one["axes"], one["edges"]
    path.write_text(json.dumps(values | {"axes": AXES}))
    selection = read_selection(tmp_path)
    assert selection is not None and selection.arms[0] == make().arms[0]


@pytest.mark.parametrize(
    "change",
    [
        {"arms": 3},
        {"arms": [{"arm": "a", "trials": [], "chosen": None, "runs": []}]},
        {"seeds": ["x"]},
        {"arms": [{"arm": "a", "axes": {}, "trials": [], "chosen": 0, "runs": []}]},
        {"metric": "recall@21"},  # one digit
    ],
)
def test_a_broken_file_is_named(tmp_path, change):
    write_selection(make(), tmp_path)
    path = tmp_path / "select.json"
    values = json.loads(path.read_text())
    if "metric" not in change:
        del values["sha256"]
    path.write_text(json.dumps(values | change))
    with pytest.raises(InputError, match=r"select\.json is broken or was"):
        read_selection(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"select\.json is broken or was"):
        read_selection(tmp_path)


def section(folder, runs):
    """Return the section for a study of runs, {folder: arm}, as one text."""
    finished = [Run(folder / name, name, 0, {}, {}, {}) for name in runs]
    table = pl.DataFrame({"run": list(runs), "arm": list(runs.values())})
    return " ".join(selection_section(Runs((folder,), finished, []), table))


def test_the_report_shows_the_tuning(tmp_path):
    assert section(tmp_path, {"r0": "A"}) == ""
    write_selection(make(), tmp_path)
    text = section(tmp_path, {"r0": "A", "r1": "A"})
    assert "<h2>Tuning</h2>" in text and "Tuned: 6 trials per arm on valid" in text
    assert ", seeds 7, 8. Each arm has" in text and "other seeds, 0, 1" in text
    # The arm has its name of the other tables; its one half-finished point is counted.
    assert ">A</td>" in text
    assert '<td class="text">loss.temperature: 0.05, 0.1, 0.2; loss: bce, hi' in text
    assert "<td>6 of 6, 1 failed</td>" in text and "<td>2 of 2, 2 failed</td>" in text
    assert ">loss.temperature=0.05 loss=hinge</td><td>0.2500 ±&nbsp;0.0707" in text
    assert "A has its best value at the edge of its axis, loss.temperature=0.05" in text
    assert "nothing: no point was finished" in text and "&lt;b&gt;" in text
    assert ">none</td><td>1 of 1</td>" in text and ">nothing to tune</td>" in text
    assert "more runs" not in text and "earlier study" not in text
    write_selection(make(source="other/select.json"), tmp_path)
    text = section(tmp_path, {"r0": "A", "r1": "A"})
    assert "in other/select.json" in text and "were not tuned anew on these" in text


def test_runs_that_were_tested_without_being_chosen_are_counted(tmp_path):
    write_selection(make(), tmp_path)
    text = section(tmp_path, {"r0": "A", "r1": "A", "old": "A", "older": "A"})
    assert "2 more runs of this folder were tested that this selection did not" in text


def test_the_console_names_winners_and_edges():
    title, first, second, third = chosen_lines(make())
    assert title.startswith("tuned: 6 trials per arm on validation (<b> all 2 of its")
    assert title.endswith("seeds 7, 8; the best by recall@20:")
    assert first.endswith(
        "0.2500 ± 0.0707; best value at the edge of its axis: widen "
        "loss.temperature=0.05 (smallest)"
    )
    assert second.endswith("nothing: no point was finished by all its runs -")
    assert third.endswith("c: nothing to tune 0.1000 ± 0.0000")
