"""The report and the figures of a study: numbers, escapes, same bytes twice."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import polars as pl
import pytest
import yaml
from rich.console import Console

from twotower_jax.errors import InputError
from twotower_jax.study.arms import study_table
from twotower_jax.study.comparison import read_comparison
from twotower_jax.study.console import print_study
from twotower_jax.study.description import Description
from twotower_jax.study.figures import study_figures
from twotower_jax.study.load import load_study
from twotower_jax.study.report import write_report
from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import (
    difference_cells,
    interval_note,
    main_metric,
    rank_arms,
    shown_metrics,
)

HOSTILE = '<script>alert("x")</script> & [red] $x_1$'
OUTPUTS = (
    "study.csv",
    "comparison.csv",
    "report.html",
    "figure_primary.svg",
    "figure_slices.svg",
)


def write_arm(folder: Path, arm: str | None, recalls: list[float], **other) -> None:
    """Write one finished run a seed; slices are multiples of the recall."""
    for seed, recall in enumerate(recalls):
        path = folder / f"{len(list(folder.iterdir())):03d}"
        path.mkdir()
        config = {"arm": arm, "seed": seed, "loss": {"x": str(other) + str(arm)}}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = {
            "recall@10": recall / 2,
            "recall@20": recall,
            "recall@20/head": recall * 2,
            "recall@20/mid": recall,
            "recall@20/tail": recall / 10,
            "ndcg@20": recall / 2,
            "coverage@20": 0.5,
        }
        metrics = other.get("metrics", metrics)
        files = {
            "manifest": {
                "data_fingerprint": "f1f2f3",
                "device": "cpu",
                "versions": {"jax": "0.10.1"},
            },
            "status": {"status": "done"},
            "result": {
                "metrics": {other.get("split", "test"): metrics},
                "seconds": 10.0 + 2 * seed,
                "examples_per_second": 12345.0,
                "seed": seed,
            },
        }
        for name, value in files.items():
            (path / f"{name}.json").write_text(json.dumps(value))


@pytest.fixture
def folder(tmp_path):
    """Three arms of 2, 1 and 2 seeds, one of them hostile, and a failed run."""
    folder = tmp_path / "a<b>study"
    folder.mkdir()
    write_arm(folder, "low", [0.1, 0.2])
    write_arm(folder, "lonely", [0.3])
    write_arm(folder, HOSTILE, [0.4, 0.6])
    (folder / "zz<i>").mkdir()
    return folder


def report(folder: Path, **given: str) -> Path:
    """Write the report of a folder as the command does, and return its path."""
    return write_report(load_study([folder], Description(**given)))


def cells(page: str, arm: str) -> list[str]:
    """Return the cells of the first row of a page that has an arm."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    row = next(row for row in rows if arm in row)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_report_holds_the_numbers_worked_out_by_hand(folder):
    page = report(folder).read_text()
    # 0.1 and 0.2: mean 0.15, sd 0.1 / sqrt(2) = 0.0707
    assert cells(page, "low") == [
        "3",
        "low",
        "2",
        "0.1500 ± 0.0707",
        "0.0750 ± 0.0354",
        "0.3000 ± 0.1414",
        "0.1500 ± 0.0707",
        "0.0150 ± 0.0071",
        "0.5000 ± 0.0000",
        "11.0 ± 1.4",
        "12,345 ± 0",
    ]
    assert cells(page, "lonely")[:4] == ["2", "lonely", "1", "0.3000"]


def test_report_says_what_was_run(folder):
    page = report(folder).read_text()
    for text in ("f1f2f3", "jax 0.10.1", "5 finished: 3 arms, 2 seeds", "54.0 seconds"):
        assert text in page
    assert "loss.x" in page


def test_report_warns_of_the_arm_with_one_seed(folder):
    page = report(folder).read_text()
    assert "One seed is never a result: 1 of 3 arms" in page
    assert "(lonely)" in page


def test_report_of_enough_seeds_does_not_warn(tmp_path):
    write_arm(tmp_path, "low", [0.1, 0.2])
    page = report(tmp_path).read_text()
    assert "One seed" not in page
    assert "Skipped" not in page
    assert "All runs share one configuration" in page


def test_every_text_is_escaped(folder):
    page = report(folder).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&lt;b&gt;study" in page
    assert "zz&lt;i&gt;: not a run" in page
    assert "<i>" not in page


def test_report_needs_no_network_and_has_unique_ids(folder):
    page = report(folder).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert not re.findall(r"@import|url\((?!#)", page)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_writing_twice_gives_the_same_bytes(folder):
    report(folder)
    before = {name: (folder / name).read_bytes() for name in OUTPUTS}
    report(folder)
    assert before == {name: (folder / name).read_bytes() for name in OUTPUTS}
    assert not list(folder.glob(".*"))


def test_arms_are_ranked_by_the_primary_metric(folder):
    table = study_table(read_runs(folder))
    assert rank_arms(table, "recall@20") == [HOSTILE, "lonely", "low"]


def test_primary_falls_back_to_the_first_recall(folder):
    table = study_table(read_runs(folder))
    assert main_metric(table) == "recall@20"
    assert main_metric(table.filter(pl.col("metric") != "recall@20")) == "recall@10"
    assert main_metric(table, "ndcg@20") == "ndcg@20"
    with pytest.raises(InputError, match=r"'recall@02' on test \(did you mean recall@"):
        main_metric(table, "recall@02")
    assert shown_metrics(table, "ndcg@20")[:2] == ["ndcg@20", "recall@20"]


def test_runs_without_test_split_or_recall_are_reported(tmp_path):
    write_arm(tmp_path, "a", [0.1, 0.2], split="valid", metrics={"mrr": 0.125})
    page = report(tmp_path).read_text()
    assert "on the valid split, ordered by mrr." in page
    assert cells(page, ">a<")[3] == "0.1250 ± 0.0000"
    assert not (tmp_path / "figure_slices.svg").exists()


def test_figure_that_the_runs_no_longer_have_is_removed(folder):
    report(folder)
    for path in folder.glob("*/result.json"):
        result = json.loads(path.read_text())
        result["metrics"] = {"test": {"recall@20": 0.5}}
        path.write_text(json.dumps(result))
    report(folder)
    assert (folder / "figure_primary.svg").exists()
    assert not (folder / "figure_slices.svg").exists()


def test_figures_are_xml_in_the_colour_of_the_page(folder):
    figures = study_figures(study_table(read_runs(folder)), "recall@20")
    assert list(figures) == ["primary", "slices"]
    for svg in figures.values():
        texts = "".join(ElementTree.fromstring(svg).itertext())
        assert HOSTILE in texts
        assert "currentColor" in svg
        assert "#010203" not in svg


def test_saved_figure_is_dark_on_white(folder):
    report(folder)
    svg = (folder / "figure_primary.svg").read_text()
    ElementTree.fromstring(svg)
    assert 'fill="#ffffff"' in svg
    assert "currentColor" not in svg


@pytest.mark.parametrize("arms", [1, 12])
def test_figure_marks_every_arm(tmp_path, arms):
    for index in range(arms):
        write_arm(tmp_path, f"arm {index} 日本 " + "long " * 20, [0.1 * index, 0.2])
    svg = study_figures(study_table(read_runs(tmp_path)), "recall@20")["primary"]
    assert all(f"arm {index} 日本" in svg for index in range(arms))


def test_figures_ignore_and_keep_the_settings_of_matplotlib(folder):
    table = study_table(read_runs(folder))
    expected = study_figures(table, "recall@20")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert study_figures(table, "recall@20") == expected
        assert dict(matplotlib.rcParams) == before


def test_printed_table_ends_with_the_path_of_the_report(folder):
    stream = io.StringIO()
    path = folder / "report.html"
    console = Console(file=stream, width=120)
    print_study(load_study([folder]), console, path)
    lines = stream.getvalue().splitlines()
    heads = "arm seeds recall@20 ndcg@20 head mid tail seconds"
    assert lines[0].split() == heads.split()
    assert lines[1].startswith(HOSTILE)
    low = "low 2 0.1500 ± 0.0707 0.0750 0.3000 0.1500 0.0150 11.0"
    assert lines[3].split() == low.split()
    assert lines[-1] == str(path)


# --- against the base arm -------------------------------------------------------------


def write_queries(folder: Path) -> None:
    """Give every run 50 queries around its recall, the same queries everywhere."""
    noise = np.random.default_rng(0).normal(0, 0.01, 50)
    for path in folder.glob("*/result.json"):
        metrics = json.loads(path.read_text())["metrics"]["test"]
        jitter = np.random.default_rng(int(path.parent.name)).normal(0, 0.01, 50)
        columns = {
            name: value + (noise - noise.mean()) + (jitter - jitter.mean())
            for name, value in metrics.items()
            if "coverage" not in name
        }
        queries = pl.DataFrame({"user": range(50), **columns})
        queries.write_parquet(path.parent / "queries.parquet")


@pytest.fixture
def compared(tmp_path):
    """Four arms of three seeds with queries: the base, its equal, two others."""
    folder = tmp_path / "study"
    folder.mkdir()
    write_arm(folder, "base", [0.200, 0.201, 0.202])
    write_arm(folder, "equal", [0.2001, 0.2011, 0.2021])
    write_arm(folder, "low", [0.1, 0.101, 0.102])
    write_arm(folder, HOSTILE, [0.6, 0.601, 0.602])
    write_queries(folder)
    return folder


def test_report_shows_differences_with_intervals_and_verdicts(compared):
    page = report(compared, base="base").read_text()
    after = page[page.index("Against the base arm") :]
    found = read_comparison(compared)
    row = found.filter((pl.col("arm") == "low") & (pl.col("metric") == "recall@20"))
    low, high, p = row.select("low", "high", "p_holm").row(0)
    smallest = row["smallest_visible"][0]
    interval = f"{low:+.4f} to {high:+.4f}"
    numbers = ["-0.1000", interval, f"{p:.3f}".replace("0.000", "&lt;0.001")]
    numbers += [f"{smallest:.4f}", "3 x 50", "worse"]
    assert cells(after, "low") == ["4", "low", *numbers]
    assert cells(after, "equal")[-1] == "no difference seen"
    assert cells(after, "&lt;script")[2] == "+0.4000"
    assert "<td>base</td>" not in after[: after.index("</table>")]
    assert "<script" not in page
    # The second table has the other metrics; coverage has no values by query.
    heads = re.findall(r"<th[^>]*>(.*?)</th>", after[: after.index("Figures")])
    assert heads[-4:] == ["ndcg@20", "head", "mid", "tail"]
    assert "+0.4000 (" in after[after.index("The other metrics") :]


def test_forest_plot_marks_every_arm_and_the_base(compared):
    report(compared, base="low")
    svg = (compared / "figure_forest.svg").read_text()
    texts = "".join(ElementTree.fromstring(svg).itertext())
    assert "recall@20, difference to the base" in texts
    for arm in ("base", "equal", "low", HOSTILE):
        assert arm in texts
    table, found = study_table(read_runs(compared)), read_comparison(compared)
    figures = study_figures(table, "recall@20", found)
    assert list(figures) == ["primary", "forest", "slices"]
    assert "currentColor" in figures["forest"]
    assert study_figures(table, "recall@20", found) == figures


def test_report_with_differences_is_the_same_bytes_twice(compared):
    names = (*OUTPUTS, "figure_forest.svg")
    report(compared, base="equal")
    before = {name: (compared / name).read_bytes() for name in names}
    report(compared)
    assert before == {name: (compared / name).read_bytes() for name in names}
    page = before["report.html"].decode()
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_report_of_runs_without_queries_says_so(compared):
    report(compared, base="base")
    for path in compared.glob("*/queries.parquet"):
        path.unlink()
    page = report(compared).read_text()
    assert "No interval: no seed shared with the base" in page
    assert cells(page[page.index("Against the base") :], "low")[2:] == [
        "-0.1000",
        *["-"] * 3,
        "3 x 0",
        "-",
    ]
    assert "The other metrics" not in page
    assert not (compared / "figure_forest.svg").exists()


def test_report_of_one_seed_says_that_intervals_are_over_queries(tmp_path):
    write_arm(tmp_path, "base", [0.2])
    write_arm(tmp_path, "other", [0.4])
    write_queries(tmp_path)
    page = report(tmp_path).read_text()
    assert "the interval is over queries only (other)" in page
    assert cells(page[page.index("Against the base") :], "other")[-1] == "cannot tell"


def test_report_of_one_arm_compares_nothing(tmp_path):
    write_arm(tmp_path, "alone", [0.1, 0.2])
    page = report(tmp_path).read_text()
    assert "Against the base arm" not in page
    assert read_comparison(tmp_path).is_empty()


def test_printed_table_shows_the_difference_to_the_base(compared):
    path = report(compared, base="base")
    stream = io.StringIO()
    found = read_comparison(compared)
    print_study(load_study([compared]), Console(file=stream, width=80), path)
    shown = stream.getvalue()
    assert "recall@20, difference to base with 95 % interval" in shown
    words = difference_cells(found, "recall@20", ["low"])[0]
    line = next(line for line in shown.splitlines() if words[2] in line)
    assert line.split() == " ".join([*words[:4], words[-1]]).split()
    assert "[red]" in shown.replace("\n", "")
    assert all(len(line) <= 80 for line in shown.splitlines()[:-1])
    assert interval_note(found, "recall@20") == ""
