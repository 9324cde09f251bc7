"""The arms of a study against its base arm."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.run_folders import read_comparison, write_run

from twotower_jax.errors import InputError
from twotower_jax.study.arms import study_table
from twotower_jax.study.comparison import (
    COLUMNS,
    choose_base,
    compare_arms,
    verdict,
    write_comparison,
)
from twotower_jax.study.runs import read_runs
from twotower_jax.study.statistics import Difference, compare, holm


@pytest.mark.parametrize(
    ("name", "part"), [("config.yaml", "is cut off"), ("queries.parquet", "be read")]
)
def test_a_file_that_is_cut_off_skips_the_run(study, name, part):
    folder, _ = study
    path = next(folder.glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-9])
    ((skipped, reason),) = read_runs(folder).skipped
    assert skipped == path.parent.name and reason.startswith(name) and part in reason


def test_metrics_by_query_need_no_cutoff_in_their_name(tmp_path):
    for arm, shift in (("base", 0.2), ("other", 0.4)):
        write_arm(tmp_path, arm, shift)
    for path in tmp_path.glob("*/queries.parquet"):
        auc = pl.col("recall@20").alias("auc/ranked")
        pl.read_parquet(path).with_columns(auc).write_parquet(path)
    row = compare_arms(read_runs(tmp_path), ["auc/ranked"], "base").row(0, named=True)
    assert (row["seeds"], row["queries"], row["verdict"]) == (3, 40, "better")


# --- against a base arm ---------------------------------------------------------------

USERS = [f"u{number:02}" for number in range(40)]


def write_queries(path: Path, recall: np.ndarray, users=USERS, **other) -> None:
    """Write queries.parquet as a run leaves it; half of the queries have a tail."""
    tail = np.where(np.arange(len(recall)) % 2, recall / 2, np.nan)
    columns = {"user": users, "recall@20": recall, "recall@20/tail": tail, **other}
    pl.DataFrame(columns).write_parquet(path / "queries.parquet")


def write_arm(folder: Path, arm: str, shift: float, seeds=(0, 1, 2)) -> np.ndarray:
    """Write one arm over seeds; return its recalls [seeds, queries]."""
    rng = np.random.default_rng(len(arm))
    recalls = shift + rng.random((len(seeds), len(USERS))) / 10
    config = {"arm": arm, "loss": {"name": arm}}
    for seed, recall in zip(seeds, recalls, strict=True):
        metrics = {"recall@20": float(recall.mean()), "coverage@20": 0.5 + shift}
        path = write_run(folder / f"{arm}{seed}", config, seed, metrics)
        write_queries(path, recall)
    return recalls


@pytest.fixture
def study(tmp_path):
    """Three arms over three seeds, and their recalls."""
    shifts = {"base": 0.2, "bettered": 0.4, "worse": 0.1}
    return tmp_path, {a: write_arm(tmp_path, a, s) for a, s in shifts.items()}


SHOWN = ("recall@20", "recall@20/tail", "coverage@20")


def test_comparison_is_that_of_the_arrays(study):
    folder, recalls = study
    found = compare_arms(read_runs(folder), SHOWN, "base")
    assert dict(found.schema) == COLUMNS
    assert found["arm"].to_list() == ["bettered", "worse"] * 3
    one = compare(recalls["bettered"], recalls["base"], tests=2)
    other = compare(recalls["worse"], recalls["base"], tests=2)
    adjusted = holm(np.array([one.p, other.p]))
    row = found.row(0)
    assert row[:3] == ("bettered", "base", "recall@20")
    assert row[3:] == (*one[:6], adjusted[0], *one[6:], "seeds and queries", "better")
    assert found["verdict"].to_list()[:2] == ["better", "worse"]


def test_slice_is_compared_on_the_queries_that_have_it(study):
    folder, recalls = study
    found = compare_arms(read_runs(folder), SHOWN, "base").row(2, named=True)
    assert (found["metric"], found["queries"]) == ("recall@20/tail", 20)
    expected = (recalls["bettered"] - recalls["base"])[:, 1::2].mean() / 2
    assert found["difference"] == pytest.approx(expected)


def test_metric_without_values_by_query_has_means_alone(study):
    row = compare_arms(read_runs(study[0]), SHOWN, "base").row(4, named=True)
    assert (row["metric"], row["seeds"], row["queries"]) == ("coverage@20", 3, 0)
    assert row["difference"] == pytest.approx(0.2)
    assert row["low"] is row["p"] is row["p_holm"] is row["smallest_visible"] is None
    assert row["verdict"] == row["interval_over"] == ""


def test_seeds_are_matched_by_number(tmp_path):
    base = write_arm(tmp_path, "base", 0.2, seeds=(0, 1, 2))
    other = write_arm(tmp_path, "shift", 0.2, seeds=(1, 2, 5))
    row = compare_arms(read_runs(tmp_path), SHOWN, "base").row(0, named=True)
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx((other[:2] - base[1:]).mean())


def test_arms_without_a_common_seed_are_not_compared(tmp_path):
    write_arm(tmp_path, "base", 0.2, seeds=(0, 1))
    write_arm(tmp_path, "shift", 0.2, seeds=(2, 3))
    row = compare_arms(read_runs(tmp_path), SHOWN, "base").row(0, named=True)
    assert (row["seeds"], row["difference"], row["verdict"]) == (0, None, "")


def test_one_seed_is_over_queries_and_cannot_tell(tmp_path):
    write_arm(tmp_path, "base", 0.2, seeds=(0,))
    write_arm(tmp_path, "shift", 0.4, seeds=(0,))
    row = compare_arms(read_runs(tmp_path), SHOWN, "base").row(0, named=True)
    assert row["low"] > 0 and row["p_holm"] < 0.05
    assert (row["interval_over"], row["verdict"]) == ("queries", "cannot tell")


def test_order_of_queries_does_not_matter_and_repeated_ones_keep_theirs(study):
    folder, _ = study
    before = compare_arms(read_runs(folder), SHOWN, "base")
    for path in folder.glob("worse*/queries.parquet"):
        pl.read_parquet(path).reverse().write_parquet(path)
    after = compare_arms(read_runs(folder), SHOWN, "base")
    assert after.equals(before)
    for path in folder.glob("*/queries.parquet"):
        twice = pl.col("user").replace("u01", "u00")
        pl.read_parquet(path).sort("user").with_columns(twice).write_parquet(path)
    assert compare_arms(read_runs(folder), SHOWN, "base").equals(before)


def test_runs_tested_on_different_queries_are_refused(study):
    folder, recalls = study
    write_queries(folder / "worse1", recalls["worse"][1], users=[*USERS[1:], "u99"])
    with pytest.raises(InputError, match=r"base0 and worse1 are .* \(40 and 40\)"):
        compare_arms(read_runs(folder), SHOWN, "base")
    write_queries(folder / "worse1", recalls["worse"][1][:30], users=USERS[:30])
    with pytest.raises(InputError, match=r"base0 and worse1 are .* \(40 and 30\)"):
        compare_arms(read_runs(folder), SHOWN, "base")


@pytest.mark.parametrize("broken", ["gone", "torn", "without user", "text"])
def test_run_without_readable_queries_is_left_out_of_the_pairs(study, broken):
    folder, recalls = study
    path = folder / "worse2/queries.parquet"
    if broken == "gone":
        path.unlink()
    elif broken == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif broken == "without user":
        pl.read_parquet(path).drop("user").write_parquet(path)
    else:
        text = pl.col("recall@20").cast(pl.String)
        pl.read_parquet(path).with_columns(text).write_parquet(path)
    rows = compare_arms(read_runs(folder), SHOWN, "base").rows(named=True)
    assert [row["seeds"] for row in rows[:2]] == [3, 2]
    expected = (recalls["worse"] - recalls["base"])[:2].mean()
    assert rows[1]["difference"] == pytest.approx(expected)


def test_study_of_one_arm_has_nothing_to_compare(tmp_path):
    write_arm(tmp_path, "base", 0.2)
    found = compare_arms(read_runs(tmp_path), SHOWN, "base")
    assert found.is_empty() and dict(found.schema) == COLUMNS
    assert write_comparison(found, tmp_path).read_text().count("\n") == 1


def test_base_is_the_requested_one_the_recorded_one_or_the_first(study):
    table = study_table(read_runs(study[0]))
    assert choose_base(table) == "base"
    assert choose_base(table, recorded="worse") == "worse"
    assert choose_base(table, recorded="renamed") == "base"
    assert choose_base(table, "bettered", recorded="worse") == "bettered"
    message = (
        r"'bettred' has no .* you mean bettered.* one of 'bettered', 'base', 'worse':"
    )
    with pytest.raises(InputError, match=message):
        choose_base(table, "bettred")


def test_comparison_csv_reads_back_equal(study):
    folder, _ = study
    found = compare_arms(read_runs(folder), SHOWN, "worse")
    assert write_comparison(found, folder) == folder / "comparison.csv"
    assert read_comparison(folder).equals(found)


@pytest.mark.parametrize(
    ("difference", "p", "smallest", "seeds", "word"),
    [
        (0.1, 0.049, 0.05, 3, "better"),
        (-0.1, 0.049, 0.05, 3, "worse"),
        (0.1, 0.051, 0.05, 3, "no difference seen"),
        (0.1, 0.051, 0.051, 3, "cannot tell"),
        (0.1, 0.001, 0.001, 1, "cannot tell"),
    ],
)
def test_verdict(difference, p, smallest, seeds, word):
    one = Difference(1 + difference, 1.0, difference, -1, 1, p, smallest, seeds, 9)
    assert verdict(one, p) == word


def test_an_interval_without_0_never_means_no_difference_seen():
    """One of many tests may have an interval without 0 and still not pass Holm."""
    one = Difference(1.004, 1.0, 0.004, 0.001, 0.007, 0.02, 0.005, 3, 9)
    assert verdict(one, 0.08) == "cannot tell"
    assert verdict(one._replace(low=-0.001), 0.08) == "no difference seen"
