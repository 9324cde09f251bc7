"""The arms of a study against its base arm."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.run_folders import read_comparison, write_run

from twotower_jax.errors import InputError
from twotower_jax.study.comparison import (
    COLUMNS,
    CONTROLLED,
    compare_arms,
    pair_arms,
    write_comparison,
)
from twotower_jax.study.runs import read_runs
from twotower_jax.study.statistics import compare, holm, holm_levels
from twotower_jax.study.tables import study_table


def compare_to(folder: Path, metrics, base: str, **rules) -> pl.DataFrame:
    """Return the comparison of all arms of a folder to one of them."""
    runs = read_runs(folder)
    pairing = pair_arms(runs, study_table(runs), metrics)
    references = {arm: base for arm in pairing.arms if arm != base}
    return compare_arms(pairing, metrics, references, **rules)


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
    row = compare_to(tmp_path, ["auc/ranked"], "base").row(0, named=True)
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
    found = compare_to(folder, SHOWN, "base")
    assert dict(found.schema) == COLUMNS
    assert found["arm"].to_list() == ["bettered", "worse"] * 3
    one = compare(recalls["bettered"], recalls["base"], tests=2)
    other = compare(recalls["worse"], recalls["base"], tests=2)
    adjusted = holm(np.array([one.decisive_p, other.decisive_p]))
    level = holm_levels(np.array([one.decisive_p, other.decisive_p]))[0]
    row = found.row(0, named=True)
    assert (row["arm"], row["base"], row["metric"]) == ("bettered", "base", "recall@20")
    assert (row["mean"], row["base_mean"]) == (one.mean, one.base_mean)
    assert row["difference"] == pytest.approx(one.difference)
    for kind, ends in (
        ("", one.interval[1:3]),
        ("_90", one.equivalence_interval),
        ("_family", one.interval.at(1 - level)),
        ("_verdict", one.interval.at(1 - level)),
    ):
        assert (row[f"low{kind}"], row[f"high{kind}"]) == pytest.approx(ends)
    assert (row["p"], row["p_holm"]) == pytest.approx((one.decisive_p, adjusted[0]))
    assert row["smallest_visible"] == one.smallest
    assert (row["seeds"], row["queries"]) == (3, 40)
    assert row["interval_over"] == "seeds and queries"
    assert found["verdict"].to_list()[:2] == ["better", "worse"]


def test_slice_is_compared_on_the_queries_that_have_it(study):
    folder, recalls = study
    found = compare_to(folder, SHOWN, "base").row(2, named=True)
    assert (found["metric"], found["queries"]) == ("recall@20/tail", 20)
    expected = (recalls["bettered"] - recalls["base"])[:, 1::2].mean() / 2
    assert found["difference"] == pytest.approx(expected)


def test_metric_without_values_by_query_has_means_alone(study):
    row = compare_to(study[0], SHOWN, "base").row(4, named=True)
    assert (row["metric"], row["seeds"], row["queries"]) == ("coverage@20", 3, 0)
    assert row["difference"] == pytest.approx(0.2)
    assert row["low"] is row["p"] is row["p_holm"] is row["smallest_visible"] is None
    assert row["verdict"] == row["interval_over"] == ""


def test_seeds_are_matched_by_number(tmp_path):
    base = write_arm(tmp_path, "base", 0.2, seeds=(0, 1, 2))
    other = write_arm(tmp_path, "shift", 0.2, seeds=(1, 2, 5))
    row = compare_to(tmp_path, SHOWN, "base").row(0, named=True)
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx((other[:2] - base[1:]).mean())


def test_arms_without_a_common_seed_are_not_compared(tmp_path):
    write_arm(tmp_path, "base", 0.2, seeds=(0, 1))
    write_arm(tmp_path, "shift", 0.2, seeds=(2, 3))
    row = compare_to(tmp_path, SHOWN, "base").row(0, named=True)
    assert (row["seeds"], row["difference"], row["verdict"]) == (0, None, "")


def test_one_seed_is_over_queries_and_has_no_word(tmp_path):
    write_arm(tmp_path, "base", 0.2, seeds=(0,))
    write_arm(tmp_path, "shift", 0.4, seeds=(0,))
    row = compare_to(tmp_path, SHOWN, "base").row(0, named=True)
    assert row["low"] > 0 and row["p_holm"] < 0.05
    assert (row["interval_over"], row["verdict"]) == ("queries", "fewer than 3 seeds")


def test_order_of_queries_does_not_matter_and_repeated_ones_keep_theirs(study):
    folder, _ = study
    before = compare_to(folder, SHOWN, "base")
    for path in folder.glob("worse*/queries.parquet"):
        pl.read_parquet(path).reverse().write_parquet(path)
    after = compare_to(folder, SHOWN, "base")
    assert after.equals(before)
    for path in folder.glob("*/queries.parquet"):
        twice = pl.col("user").replace("u01", "u00")
        pl.read_parquet(path).sort("user").with_columns(twice).write_parquet(path)
    assert compare_to(folder, SHOWN, "base").equals(before)


def test_runs_tested_on_different_queries_are_refused(study):
    folder, recalls = study
    write_queries(folder / "worse1", recalls["worse"][1], users=[*USERS[1:], "u99"])
    with pytest.raises(InputError, match=r"base0 and worse1 are .* \(40 and 40\)"):
        compare_to(folder, SHOWN, "base")
    write_queries(folder / "worse1", recalls["worse"][1][:30], users=USERS[:30])
    with pytest.raises(InputError, match=r"base0 and worse1 are .* \(40 and 30\)"):
        compare_to(folder, SHOWN, "base")


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
    rows = compare_to(folder, SHOWN, "base").rows(named=True)
    assert [row["seeds"] for row in rows[:2]] == [3, 2]
    expected = (recalls["worse"] - recalls["base"])[:2].mean()
    assert rows[1]["difference"] == pytest.approx(expected)


def test_two_seeds_have_no_word_however_large_the_difference(tmp_path):
    write_arm(tmp_path, "base", 0.2, seeds=(0, 1))
    write_arm(tmp_path, "shift", 0.9, seeds=(0, 1))
    row = compare_to(tmp_path, SHOWN, "base").row(0, named=True)
    assert (row["seeds"], row["verdict"]) == (2, "fewer than 3 seeds")


def test_arms_that_were_not_tuned_alike_have_numbers_and_no_words(study):
    found = compare_to(
        study[0],
        SHOWN,
        "base",
        withheld=lambda arm, _: "" if arm == "worse" else "untuned",
    )
    assert found["verdict"].to_list() == ["untuned", "worse"] * 2 + [""] * 2
    assert found.drop("verdict").equals(
        compare_to(study[0], SHOWN, "base").drop("verdict")
    )


def test_study_of_one_arm_has_nothing_to_compare(tmp_path):
    write_arm(tmp_path, "base", 0.2)
    found = compare_to(tmp_path, SHOWN, "base")
    assert found.is_empty() and dict(found.schema) == COLUMNS
    assert write_comparison(found, found, tmp_path).read_text().count("\n") == 1


def test_comparison_is_made_once_whatever_its_family(study, monkeypatch):
    runs = read_runs(study[0])
    pairing = pair_arms(runs, study_table(runs), SHOWN)
    to_base = {"bettered": "base", "worse": "base"}
    first = compare_arms(pairing, SHOWN, to_base)
    again = []
    monkeypatch.setattr(
        "twotower_jax.study.comparison.compare_all",
        lambda pairs: again.extend(pairs) or [],
    )
    one = compare_arms(pairing, SHOWN, {"worse": "base"})
    assert compare_arms(pairing, SHOWN, to_base).equals(first)
    assert not again
    both = first.filter(pl.col("arm") == "worse")
    assert one["p"].equals(both["p"]) and one["low"].equals(both["low"])
    # Alone, its interval and its smallest visible difference are smaller.
    assert (one["low_family"] >= both["low_family"])[0]
    assert one["low_family"][0] == one["low"][0]
    assert (one["smallest_visible"] < both["smallest_visible"])[0]


def test_comparison_csv_has_the_base_and_the_control_of_each_arm(study):
    folder, _ = study
    runs = read_runs(folder)
    pairing = pair_arms(runs, study_table(runs), SHOWN)
    found = compare_to(folder, SHOWN, "worse")
    controlled = compare_arms(pairing, SHOWN, {"bettered": "base"})
    path = write_comparison(found, controlled, folder)
    assert path == folder / "comparison.csv"
    assert read_comparison(folder).equals(found)
    table = pl.read_csv(path)
    assert table.columns == [*COLUMNS, *CONTROLLED.values()]
    row = table.row(by_predicate=(pl.col("arm") == "bettered") & (
        pl.col("metric") == "recall@20"), named=True)  # fmt: skip
    ours = controlled.row(0, named=True)
    assert row["control"] == "base" and row["base"] == "worse"
    assert row["control_difference"] == pytest.approx(ours["difference"])
    assert row["control_verdict"] == "better"
    bare = table.filter(pl.col("arm") == "base")
    assert bare["control"].null_count() == bare["control_p"].null_count() == len(bare)
