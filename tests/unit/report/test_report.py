"""The report of a study as a reader sees it: numbers, texts, same bytes twice."""

import json
import re

import polars as pl
import pytest
from helpers.run_folders import read_comparison, write_run
from helpers.studies import HOSTILE, Page, report, write_arm, write_queries

from twotower_jax.errors import InputError
from twotower_jax.report.html import write_report
from twotower_jax.report.page import box, text_html
from twotower_jax.study.description import (
    Description,
    read_description,
    write_description,
)
from twotower_jax.study.load import load_study
from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import main_metric, rank_arms, shown_metrics, study_table

DETAILS = "Tests and cost of the arms"


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


def test_report_holds_the_numbers_worked_out_by_hand(folder):
    page = Page(report(folder, base="lonely"))
    # 0.1 and 0.2: mean 0.15, sd 0.1 / sqrt(2) = 0.0707; 100 steps of 64 examples;
    # seed 0 alone is shared with the base arm: 0.1 - 0.3.
    assert page.row("Arms", "low") == {
        "arm": "low",
        "recall@20": "0.1500 ± 0.0707",
        "difference": "-0.2000",
        "interval": "-",
        "verdict": "-",
        "seeds": "2",
    }
    assert page.row(DETAILS, "low") == {
        "#": "3",
        "arm": "low",
        "p Holm": "-",
        "smallest visible": "-",
        "seeds x queries": "1 x 0",
        "seconds": "11.0 ± 1.4",
        "examples": "6,400",
    }
    assert page.row("Arms", "lonely")["verdict"] == "base"
    assert page.row("Other metrics", "low") == {
        "#": "3",
        "arm": "low",
        "ndcg@20": "0.0750 ± 0.0354",
        "head": "0.3000 ± 0.1414",
        "mid": "0.1500 ± 0.0707",
        "tail": "0.0150 ± 0.0071",
        "coverage@20": "0.5000 ± 0.0000",
    }


def test_report_shows_the_cost(folder):
    page = Page(report(folder))
    text = page.texts["Cost"]
    for part in (
        "f1f2f3",
        "jax 0.10.1",
        "table",
        "5 finished: 3 arms, 2 seeds; 1 folders skipped",
        "54.0 seconds, 32,000 examples",
    ):
        assert part in text
    assert list(page.row("Cost", "low").values()) == [
        *("3", "low", "2", "22.0", "12,800", "12,345")
    ]
    assert page.tables["Configuration"][0][0] == ["#", "arm", "loss.x"]


def test_report_names_failed_runs_with_their_reasons(folder):
    write_arm(folder, "bad", [0.1])
    (failed,) = (p for p in folder.glob("*/config.yaml") if "arm: bad" in p.read_text())
    status = {"status": "failed", "reason": "NonFiniteLossError: the loss <b>"}
    (failed.parent / "status.json").write_text(json.dumps(status))
    (folder / "half").mkdir()
    (folder / "half/config.yaml").write_text("arm: half")
    page = Page(report(folder))
    text = page.texts["Skipped folders (3)"]
    assert f"{failed.parent.name}: status is failed: NonFiniteLossError: the" in text
    assert "loss <b>" in text
    assert "half: not a run: it lacks config.yaml or status.json" in text
    assert "bad" not in {row[0] for row in page.tables["Arms"][0]}


def test_report_begins_with_the_arms_that_have_too_few_seeds(folder):
    text = Page(report(folder)).texts["Study a<b>study"]
    assert "Too few seeds for a verdict, which needs 3 of both arms" in text
    assert f"better 5: lonely has 1; {HOSTILE}, low have 2." in text


def test_report_of_enough_seeds_does_not_warn(tmp_path):
    write_arm(tmp_path, "low", [0.1, 0.2, 0.3])
    page = Page(report(tmp_path))
    assert "Too few seeds" not in str(page.texts)
    assert not any("Skipped" in heading for heading in page.texts)
    assert "All runs share one configuration" in page.texts["Configuration"]


def test_report_names_a_source_that_had_no_effect(tmp_path):
    idle = {"bank": {"steps": 9, "steps to the best step": 0}}
    acts = {"mining": {"minings": 9, "minings to the best step": 1}}
    write_arm(tmp_path, "late", [0.3, 0.3, 0.4], samples=idle)
    write_arm(tmp_path, "early", [0.3, 0.4, 0.4], samples=acts)
    text = Page(report(tmp_path)).texts[f"Study {tmp_path.name}"]
    assert "had no effect on them: late (bank). Lower its warm-up." in text
    assert "early (mining)" not in text


def test_every_text_is_escaped(folder):
    given = {"question": "<script>q</script>", "source": "<i>s</i>"}
    page = report(folder, **given).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&lt;b&gt;study" in page
    assert "zz&lt;i&gt;: not a run" in page
    assert "<i>" not in page


def test_report_needs_no_network_no_script_and_has_unique_ids(folder):
    write_queries(folder)
    page = report(folder).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert not re.findall(r"@import|url\((?!#)|<script", page)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_a_narrow_page_begins_with_the_metric_and_the_interval(folder):
    """The first columns need little scrolling: every cell and heading wraps."""
    text = report(folder, base="low").read_text()
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in text
    assert "nowrap" not in text
    heads = Page(folder / "report.html").tables["Arms"][0][0]
    assert heads == ["arm", "recall@20", "difference", "interval", "verdict", "seeds"]
    assert '<td class="text">base</td>' in text


def test_headings_may_break_inside_a_metric_or_a_key():
    text = "\n".join(box(["arm", "true_recall@20/head", "loss.x<_"], [], text=(0,)))
    assert "<th>true_<wbr>recall@20/<wbr>head</th>" in text
    assert "<th>loss.<wbr>x&lt;_</th>" in text


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("(95 % interval", "(95&nbsp;% interval"),
        ("+0.39 nats", "+0.39&nbsp;nats"),
        ("1,234.5 seconds, 3 arms", "1,234.5&nbsp;seconds, 3 arms"),
        ("0.1500 ± 0.0707", "0.1500 ±&nbsp;0.0707"),
        ("seeds x queries", "seeds&nbsp;x queries"),
        ("p Holm", "p&nbsp;Holm"),
        ("a b < 5 secondsight", "a b &lt; 5 secondsight"),
    ],
)
def test_no_line_ends_between_a_number_and_its_unit(text, html):
    assert text_html(text) == html


def test_the_answer_keeps_the_level_of_its_interval_on_one_line(compared):
    text = report(compared, base="base", tuned="by hand").read_text()
    assert "(95&nbsp;% interval" in text
    assert not re.findall(r"\d %", text.partition("</style>")[2])


def test_writing_twice_gives_the_same_bytes(folder):
    def written():
        return {path.name: path.read_bytes() for path in folder.glob("*.*")}

    report(folder, question="why?")
    before = written()
    assert {"study.json", "study.csv", "comparison.csv", "report.html"} <= set(before)
    report(folder)
    assert written() == before
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
    write_arm(tmp_path, "a", [0.1, 0.2], split="valid", metrics={"auc@ranked": 0.125})
    page = Page(report(tmp_path))
    assert "on the valid split, ordered by auc@ranked." in page.texts["Arms"]
    assert page.row("Arms", "a")["auc@ranked"] == "0.1250 ± 0.0000"
    assert page.figures == ["auc@ranked of the arms"]
    assert "Other metrics" not in page.tables


# --- the description of the study -----------------------------------------------------


def test_report_begins_with_the_question_and_orders_by_the_metric(folder):
    page = Page(report(folder, question="Which one?", source="A & B", metric="ndcg@20"))
    assert "Source: A & B" in page.texts["Which one?"]
    assert page.row("Arms", "low")["ndcg@20"] == "0.0750 ± 0.0354"
    # study.json keeps it for the next report, which may change a part of it.
    again = Page(report(folder, question="Why?"))
    assert "Source: A & B" in again.texts["Why?"]
    assert again.row("Arms", "low") == page.row("Arms", "low")
    assert read_description(folder) == Description("Why?", "A & B", "ndcg@20")


def test_base_of_the_file_may_be_missing(folder):
    write_description(Description(base="not yet"), folder)
    page = Page(report(folder))
    assert "The base arm not yet has no finished run" in page.texts["Study a<b>study"]
    assert read_description(folder).base == "not yet"
    with pytest.raises(InputError, match="'lowe' has no .* you mean low.* 'low', "):
        report(folder, base="lowe")


def test_metric_of_the_file_that_no_run_has_is_refused(folder):
    write_description(Description(metric="mrr@3"), folder)
    with pytest.raises(
        InputError, match=r"no run has .* 'mrr@3' .* one of recall@10, "
    ):
        report(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"metric": 3}', '{"base": ["a"]}', "\xff"])
def test_broken_description_is_named(folder, text):
    (folder / "study.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"study\.json is broken.*remove it"):
        report(folder)


def test_report_of_several_folders(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, arm in zip(folders, ("low", "high"), strict=True):
        folder.mkdir()
        write_arm(folder, arm, [0.1, 0.2] if arm == "low" else [0.3, 0.4])
    write_description(Description(question="Of one?"), folders[0])
    write_description(Description(question="Of two?", base="low"), folders[1])
    out = tmp_path / "deep/out"
    page = Page(write_report(load_study(folders, out=out), out))
    assert [row[0] for row in page.tables["Arms"][0][1:]] == ["high", "low"]
    assert page.row("Arms", "low")["verdict"] == "base"
    assert "Of one?" in page.texts
    assert not (folders[0] / "report.html").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out \S+file is a file"):
        write_report(load_study(folders), tmp_path / "file")


# --- against the base arm -------------------------------------------------------------


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


def test_two_seeds_have_no_verdict(tmp_path):
    for arm, recalls in (("base", [0.2, 0.201]), ("other", [0.1, 0.101])):
        write_arm(tmp_path, arm, recalls)
    write_queries(tmp_path)
    page = Page(report(tmp_path, base="base", tuned="by hand"))
    assert page.row("Arms", "other")["verdict"] == "fewer than 3 seeds"


def test_arms_that_were_not_tuned_alike_have_no_verdict(compared):
    page = Page(report(compared, base="base"))
    assert page.row("Arms", "low")["verdict"] == "untuned"
    title = "Study study"
    assert "Untuned. Differences of arms that were not tuned" in page.texts[title]
    page = Page(report(compared, tuned="24 trials in study X"))
    assert page.row("Arms", "low")["verdict"] == "worse"
    assert "Tuned: 24 trials in study X" in page.texts[title]
    assert "untuned" not in page.texts[title]


def test_the_margin_decides_what_is_equivalent(compared):
    page = Page(report(compared, base="base", tuned="by hand", margin=0.0001))
    assert page.row("Arms", "equal")["verdict"] == "cannot tell"
    assert "within 0.01 % of the mean" in page.texts[DETAILS]
    assert read_description(compared).margin == 0.0001


def test_report_shows_differences_with_intervals_and_verdicts(compared):
    page = Page(report(compared, base="base", tuned="by hand"))
    found = read_comparison(compared)
    row = found.filter((pl.col("arm") == "low") & (pl.col("metric") == "recall@20"))
    low, high, p = row.select("low_verdict", "high_verdict", "p_holm").row(0)
    cells = page.row("Arms", "low")
    assert cells["difference"] == "-0.1000"
    assert cells["interval"] == f"{low:+.4f} to {high:+.4f}"
    assert (cells["seeds"], cells["verdict"]) == ("3", "worse")
    tests = page.row(DETAILS, "low")
    assert tests["p Holm"] == ("<0.001" if p < 1e-3 else f"{p:.3f}")
    assert tests["smallest visible"] == f"{row['smallest_visible'][0]:.4f}"
    assert tests["seeds x queries"] == "3 x 50"
    assert page.row("Arms", "equal")["verdict"] == "equivalent (within 2 %)"
    assert page.row("Arms", "equal")["interval"].endswith(" (90 %)")
    assert page.row("Arms", HOSTILE)["difference"] == "+0.4000"
    assert page.row("Arms", "base")["verdict"] == "base"
    # Coverage has no values by query.
    others = page.row("Other metrics", HOSTILE, table=1)
    assert list(others)[2:] == ["ndcg@20", "head", "mid", "tail"]
    assert others["mid"].startswith("better: +0.4000, +")
    assert "10,001 sign flips over queries (minimal p 1e-04" in page.texts[DETAILS]


def test_report_of_runs_without_queries_has_a_note(compared):
    for path in compared.glob("*/queries.parquet"):
        path.unlink()
    page = Page(report(compared, base="base"))
    assert "No interval: no seed shared with the base" in page.texts["Arms"]
    cells = list(page.row("Arms", "low").values())
    assert cells[2:] == ["-0.1000", "-", "-", "3"]
    assert len(page.tables["Other metrics"]) == 1


def test_report_of_one_seed_notes_that_intervals_are_over_queries(tmp_path):
    write_arm(tmp_path, "base", [0.2])
    write_arm(tmp_path, "other", [0.4])
    write_queries(tmp_path)
    page = Page(report(tmp_path, base="base"))
    assert "the interval is over queries only (other)" in page.texts["Arms"]
    assert page.row("Arms", "other")["verdict"] == "fewer than 3 seeds"


def test_report_of_one_arm_compares_nothing(tmp_path):
    write_arm(tmp_path, "alone", [0.1, 0.2])
    page = Page(report(tmp_path))
    assert page.tables["Arms"][0][0] == ["arm", "recall@20", "seeds"]
    assert read_comparison(tmp_path).is_empty()


def test_arms_are_compared_at_each_common_temperature(tmp_path):
    """The difference between two samples may change its sign with the temperature."""
    means = {("a", 0.1): 0.2, ("a", 0.4): 0.3, ("b", 0.1): 0.25, ("b", 0.4): 0.26}
    for (arm, temperature), mean in means.items():
        config = {"loss": {"temperature": temperature}}
        config["negatives"] = {"available": arm == "b"}
        for seed in range(3):
            path = write_run(
                tmp_path / f"{arm}{temperature}{seed}",
                {"arm": f"{arm} at {temperature}", **config},
                seed,
                {"recall@20": mean},
            )
            values = {"user": range(40), "recall@20": mean + 0.001 * seed}
            pl.DataFrame(values).write_parquet(path / "queries.parquet")
    page = Page(report(tmp_path, base="a at 0.1"))
    heads, row = page.tables["At common temperatures"][0]
    assert heads == ["arm", "at 0.1", "at 0.4", "sign"]
    assert (row[0], row[1][:7], row[2][:7]) == ("b at 0.1", "+0.0500", "-0.0400")
    assert row[3] == "changes"


def test_without_common_temperatures_there_is_no_such_table(folder):
    assert "At common temperatures" not in report(folder, base="lonely").read_text()
