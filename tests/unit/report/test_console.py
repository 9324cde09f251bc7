"""The printed table of a study: it fits, and skipped folders are named."""

import io
import json
from pathlib import Path

import pytest
import yaml
from helpers.run_folders import read_comparison
from helpers.studies import HOSTILE, Page, report, write_arm, write_queries
from rich.console import Console

from twotower_jax import conf
from twotower_jax.config import from_dict
from twotower_jax.errors import InputError
from twotower_jax.report.console import print_line, print_result, print_study
from twotower_jax.study.load import load_study
from twotower_jax.study.verdicts import difference_cells, interval_note


def printed(folder, width: int) -> list[str]:
    """Return the printed lines of a study."""
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    print_study(load_study([folder]), console, folder / "report.html")
    return stream.getvalue().splitlines()


def table_of(lines: list[str]) -> list[str]:
    """Return the lines with those before the first table as one."""
    start = next(i for i, line in enumerate(lines) if line.startswith("arm "))
    return ["\n".join(lines[:start]), *lines[start:]]


def test_printed_table_ends_with_the_path_of_the_report(tmp_path):
    write_arm(tmp_path, "low", [0.1, 0.2])
    write_arm(tmp_path, HOSTILE, [0.4, 0.6])
    warnings, *lines = table_of(printed(tmp_path, 120))
    assert "Untuned." in warnings and "low have 2." in warnings
    heads = "arm seeds recall@20 verdict seconds ndcg@20 head mid tail"
    assert lines[0].split() == heads.split()
    assert lines[1].startswith(HOSTILE)
    low = "low 2 0.1500 11.0 0.0750 0.3000 0.1500 0.0150"
    assert lines[2].split() == low.split()
    assert lines[-1] == str(tmp_path / "report.html")


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_table_leaves_metrics_out_and_keeps_the_arms(tmp_path, width):
    names = [f"recall@20/{part}" for part in ("head", "mid", "tail")]
    names += ["true_recall@20", "true_ctr@20", "ndcg@20", "auc@ranked"]
    for arm in ("in-batch", "in-batch + logQ"):
        metrics = {name: 0.25 for name in ("recall@20", *names)}
        write_arm(tmp_path, arm, [0.1, 0.2], metrics=metrics)
    _, *lines = table_of(printed(tmp_path, width))
    assert lines[1].startswith("in-batch  ")
    assert lines[2].startswith("in-batch + logQ ")
    heads = lines[0].split()
    assert heads[:3] == ["arm", "seeds", "recall@20"]
    assert ("ctr@20" in heads) == (width == 80) and "auc@ranked" not in heads
    assert "…" not in "".join(lines) and max(map(len, lines[:3])) <= width


def test_printed_table_shows_the_difference_to_the_base(tmp_path):
    write_arm(tmp_path, "base", [0.200, 0.201, 0.202])
    write_arm(tmp_path, "low", [0.1, 0.101, 0.102])
    write_arm(tmp_path, HOSTILE, [0.6, 0.601, 0.602])
    write_queries(tmp_path)
    report(tmp_path, base="base")
    (first, *lines), found = table_of(printed(tmp_path, 80)), read_comparison(tmp_path)
    assert "difference to base with 95 % intervals, Holm over 2 arms" in first
    _, word, gap, ends, *_ = difference_cells(found, "recall@20", ["low"])[0]
    line = next(line for line in lines if ends in line)
    assert line.split()[:8] == f"low 3 0.1010 {gap} {ends} {word}".split()
    # Every control is the base, so that there is no second table of differences.
    assert not [line for line in lines if "control" in line]
    assert "[red]" in "".join(lines)
    assert all(len(line) <= 80 for line in lines[:-1])
    assert interval_note(found, "recall@20") == ""


def test_skipped_folders_are_counted_and_named(tmp_path):
    write_arm(tmp_path, "low", [0.1] * 2)
    status = {"status": "failed", "reason": "NonFiniteLossError: lower it [red]"}
    (tmp_path / "001/status.json").write_text(json.dumps(status))
    for index in range(6):
        (tmp_path / f"notes{index}").mkdir()
    lines = printed(tmp_path, 80)
    start = lines.index("skipped 7 folder(s):")
    reason = "  001: status is failed: NonFiniteLossError: lower it [red]"
    assert lines[start + 1] == reason
    assert lines[start + 6] == "  and 2 more in the report"


def test_differences_to_the_controls_are_printed_where_they_are_not_the_base(tmp_path):
    loss = {"name": "sampled_softmax", "temperature": 0.1}
    for arm, recall, changed in (
        ("base", 0.2, {}),
        ("uncorrected", 0.3, {"logq": {"correct": "none"}}),
        ("warm", 0.4, {"logq": {"correct": "none"}, "temperature": 0.2}),
    ):
        recalls = [recall, recall + 0.001, recall + 0.002]
        write_arm(tmp_path, arm, recalls, config={"loss": loss | changed})
    write_queries(tmp_path)
    report(tmp_path, base="base", tuned=None)
    lines = printed(tmp_path, 100)
    title = "recall@20, difference to the control with 95 % intervals, Holm over 2 arms"
    rows = [line.split()[:4] for line in lines[lines.index(title) :]]
    assert ["warm", "untuned", "uncorrected", "+0.1000"] in rows
    assert ["uncorrected", "untuned", "base", "+0.1000"] in rows


def test_a_baseline_is_marked(tmp_path):
    write_arm(tmp_path, "plain", [0.1] * 3)
    write_arm(tmp_path, "clicks", [0.2] * 3, config={"towers": {"kind": "popularity"}})
    warnings, heads, *lines = table_of(printed(tmp_path, 80))
    assert warnings.startswith(
        "Every arm loses to a baseline: clicks has recall@20 0.2"
    )
    assert heads.startswith("arm ") and lines[0].startswith("clicks (baseline) ")
    assert lines[1].startswith("plain  ")


def test_a_requested_metric_is_in_the_table_of_a_run():
    """map and auc are not among the metrics that every run shows."""
    config = from_dict(
        {"training": {"metric": "map@5"}, "evaluation": {"k": [5], "auc": ["uniform"]}}
    )
    values = {"recall@5": 0.5, "map@5": 0.25, "auc@uniform": 0.75, "true_ctr@5": 0.125}
    result = {"metrics": {"test": values}, "seconds": 1.0, "steps": 300}
    result |= {"best_step": 200, "examples_per_second": None}
    stream = io.StringIO()
    print_result(Console(file=stream, width=80), config, result, "true_ctr@5")
    lines = map(str.split, stream.getvalue().splitlines())
    shown = dict(line for line in lines if len(line) == 2)
    assert {name: shown[name] for name in values} == {
        name: f"{value:.4f}" for name, value in values.items()
    }


def test_a_run_without_a_test_part_prints_no_table_of_blanks():
    result = {"metrics": {"test": {}}, "seconds": 1.0, "steps": 300}
    result |= {"best_step": 300, "examples_per_second": 1000.0}
    stream = io.StringIO()
    print_result(Console(file=stream, width=80), from_dict({}), result)
    assert "recall" not in stream.getvalue()
    assert "no positive is left for a valid or test part" in stream.getvalue()


def test_a_line_of_a_sweep_has_the_metric_of_the_study_and_no_label():
    config = from_dict({"arm": "a"})
    values = {"recall@20": 0.5, "true_recall@20": 0.25}
    result = {"metrics": {"test": values}, "seconds": 1.0}
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    swept = ["arms=b", "baselines=false", "loss.temperature=0.2", "name=x"]
    print_line(console, config, result, swept, "run 1 of 2", "true_recall@20")
    assert stream.getvalue().replace("\n", " ") == (
        "a temperature=0.2, seed 0: test recall@20 0.5000, true_recall@20 0.2500, "
        "1.0 s (run 1 of 2) "
    )


def test_requested_metrics_of_the_runs_are_in_both_tables(tmp_path):
    metrics = {"recall@20": 0.4, "recall@5": 0.1, "map@20": 0.2, "ndcg@20": 0.3}
    metrics |= {f"recall@20/{part}": 0.4 for part in ("head", "mid", "tail")}
    training = {"metric": "map@20", "batch_size": 64}
    config = {"evaluation": {"k": [5, 20]}, "training": training}
    for arm in ("a", "b"):
        write_arm(tmp_path, arm, [0.4], metrics=metrics, config=config)
    _, heads, *_ = table_of(printed(tmp_path, 80))
    assert {"recall@20", "map@20", "recall@5"} <= set(heads.split())
    page = Page(report(tmp_path))
    assert page.row("Other metrics", "b")["recall@5"] == "0.1000"
    with pytest.raises(InputError, match=r"metric 'mrr@20' on test.* recall@5, map@20"):
        report(tmp_path, metric="mrr@20")


def labels() -> list[str]:
    """Return the labels of all arms of the package."""
    files = sorted((Path(conf.__file__).parent / "arms").rglob("*.yaml"))
    arms = [yaml.safe_load(path.read_text()) for path in files]
    names = {arm["arm"] for arm in arms if "arm" in arm}
    return sorted(names, key=len)


@pytest.mark.slow
def test_nothing_is_cut_at_80_columns(tmp_path):
    """The longest names of arms, every verdict, marks of two words and controls."""
    names = labels()[-8:]
    assert len(names[-1]) > 30
    loss = {"name": "full_softmax"}
    write_arm(tmp_path, "the base arm", [0.2, 0.201, 0.202], config={"loss": loss})
    for place, name in enumerate(names):
        shift = (0.0001, 0.05, -0.05, 0.003)[place % 4]
        config = {"negatives": {"easy": {"num": place + 1}}, "loss": {"name": "bce"}}
        recalls = [0.2 + shift, 0.201 + shift, 0.202 + shift]
        write_arm(tmp_path, name, recalls, config=config)
    write_queries(tmp_path)
    report(tmp_path, base="the base arm", tuned="here")
    lines = printed(tmp_path, 80)
    text = "\n".join(lines)
    assert "…" not in text and "..." not in text
    start = next(i for i, line in enumerate(lines) if line.startswith("arm "))
    assert max(map(len, lines[start:-1])) <= 80
    heads = [line.split() for line in lines if line.startswith("arm ")]
    assert heads[0][:4] == ["arm", "seeds", "recall@20", "difference"]
    assert [one[0:2] for one in heads[1:]] == [["arm", "verdict"]]
    # A name may go on in the next line, but no word of it is lost or broken.
    for table in ("".join(lines[start:]).count, text.count):
        for name in names:
            for word in name.split():
                assert table(word) >= 1, word
    for word in ("better", "worse", "equivalent", "(within 2 %)", "cannot tell"):
        assert word in text
