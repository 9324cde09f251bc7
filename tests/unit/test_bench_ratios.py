"""Ratios, goals, floors and worlds of `benchmarks/bench`."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_ratios_are_taken_round_by_round(load):
    rows = load("bench.rows")
    own = [{"steps": [1.0, 2.0, 9.0]}, {"error": "killed"}, {"steps": [4.0]}]
    other = [{"steps": [8.0]}, {"steps": [1.0]}, {"steps": [4.0]}]
    assert rows.ratios(own, other, rows.rate) == ((4.0, 1.0), "")
    row = rows.Row("train", "case", "ratio", (4.0, 1.0, 2.0), rows.at_least(2))
    assert row.median == 2 and row.reached
    assert row._replace(goal=rows.at_most(1.9)).reached is False


def test_nothing_is_the_better_of_a_missing_peer(load):
    rows = load("bench.rows")
    missing = [{"error": "tfrs is not installed: no"}]
    fast = rows.better([{"steps": [1.0]}], missing, number=rows.rate)
    assert rows.ratios([{"steps": [1.0]}], fast, rows.rate) == ((), missing[0]["error"])
    row = rows.Row("train", "case", "ratio", (), rows.at_least(2), "missing")
    assert row.median is None and row.reached is None
    slow = [{"steps": [2.0]}]
    assert rows.better(slow, [{"steps": [1.0]}], number=rows.rate) == [{"steps": [1.0]}]


def test_the_floor_counts_products_exponentials_and_rows(load):
    trainings, settings = load("bench.trainings"), load("bench.settings")
    case = settings.Case(10, 3, dim=2)
    floors = {"sgemm": 1.0, "exp": np.inf, "bandwidth": np.inf}
    # Per row of a tower: 2x4 and 4x2 weights, 2 FLOP each, forward and two gradients.
    layers = (3 + 5) * (2 * 4 + 4 * 2) * 2 * 3
    scores = 3 * 5 * 2 * 2 * 3
    assert trainings.floor_seconds(case, 5, floors) == layers + scores
    floors = {"sgemm": np.inf, "exp": 1.0, "bandwidth": np.inf}
    assert trainings.floor_seconds(case, 5, floors) == 3 * 5
    floors = {"sgemm": np.inf, "exp": np.inf, "bandwidth": 1.0}
    # Rows of 2 numbers of 4 bytes and their accumulators, read and written.
    assert trainings.floor_seconds(case, 5, floors) == (3 + 5) * 2 * 4 * 2 * 2


def test_the_floor_counts_hard_slots_and_the_items_of_histories(load):
    trainings, settings = load("bench.trainings"), load("bench.settings")
    case, none = settings.Case(10, 3, dim=2, hard=4), np.inf
    floors = {"sgemm": none, "exp": 1.0, "bandwidth": none}
    assert trainings.floor_seconds(case, 5, floors) == 3 * 5 + 3 * 4
    floors = {"sgemm": none, "exp": none, "bandwidth": 1.0}
    numbers = 2 * 4 * 2 * 2  # of a row of a table, as above
    assert trainings.floor_seconds(case, 5, floors) == (3 + 5 + 12) * numbers
    case = settings.Case(10, 3, dim=2, history=4)
    assert trainings.floor_seconds(case, 5, floors, 7) == (7 + 5) * numbers


def test_histories_hold_the_latest_clicks_before_each_click(load):
    worlds = load("bench.worlds")
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 4, 60), rng.integers(0, 9, 60)
    kept = rng.permutation(60)[:40]
    found = worlds.histories(user, item, 3, kept)
    for row, place in zip(found, kept, strict=True):
        before = item[:place][user[:place] == user[place]][::-1][:3].tolist()
        assert row.tolist() == before + [-1] * (3 - len(before))
