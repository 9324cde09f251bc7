"""Studies that a log supports, as `data check` lists them."""

import pytest
from helpers.funnels import make_log

from twotower_jax.cli import main
from twotower_jax.data.health import studies

COLUMNS = ("user", "item", "stage", "request", "time", "rank")


def test_a_whole_funnel_carries_every_study_but_the_given_split():
    rows = [(0, 0, "clicked", 0, 1.0, -1), (0, 1, "exposed", 0, 1.0, -1)]
    rows += [(0, 2, "pre_ranked", 0, 1.0, 3), (0, 3, "retrieved", 0, 1.0, 0)]
    found = studies(make_log(rows, COLUMNS), "simulator")
    assert found["hard negatives by stage"] == (
        "yes: negatives=hard negatives.hard.stages=[retrieved,pre_ranked]"
    )
    assert found["exposed, not clicked"] == (
        "yes: negatives=hard negatives.hard.stages=[exposed] "
        "negatives.allow_exposed=true"
    )
    no = [name for name, text in found.items() if text.startswith("no: ")]
    assert no == ["given split"]
    assert studies(make_log(rows, COLUMNS), "table")["against the truth"][:2] == "no"


def test_positives_alone_carry_easy_negatives_and_resampling():
    found = studies(make_log([(0, 0, "clicked"), (1, 1, "clicked")], COLUMNS[:3]), "x")
    yes = [name for name, text in found.items() if text.startswith("yes")]
    assert yes == ["easy negatives, logQ", "positives resampling"]


def test_without_requests_the_pool_is_the_users():
    rows = [(0, 0, "clicked"), (0, 1, "ranked"), (0, 2, "pre_ranked")]
    found = studies(make_log(rows, COLUMNS[:3]), "table")
    # Items that came through ranking are no hard negatives.
    assert found["hard negatives by stage"].endswith(
        "[pre_ranked] negatives.hard.pool=user (no requests)"
    )
    assert found["windows of ranks"].startswith("no")


@pytest.mark.parametrize("given", [False, True])
def test_data_check_prints_them(tmp_path, capsys, monkeypatch, given):
    monkeypatch.setenv("COLUMNS", "200")
    lines = [f"{u},{i},{int(u == i)}" for u in range(9) for i in range(9)]
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("\n".join(["user,item,clicked", *lines]) + "\n")
    words = ["data=table", f"data.path={tmp_path / 'a.csv'}"]
    words += ["data.columns.clicked=clicked", "data.test_share=0.5"]
    if given:
        words += ["data.split=given", f"data.test_path={tmp_path / 'b.csv'}"]
    else:
        words += ["data.split=leave_last_out"]
        lines += ["0,1,1", "0,2,1"]
        text = "\n".join(["user,item,clicked", *lines]) + "\n"
        (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", *words])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    answers = dict(
        line.strip().removeprefix("study: ").split("  ", 1)
        for line in shown.splitlines()
        if line.strip().startswith("study: ")
    )
    assert len(answers) == 8
    exposed = answers["exposed, not clicked"].strip()
    assert exposed.startswith("yes: negatives=hard negatives.hard.stages=[exposed]")
    answer = answers["given split"].strip()
    assert answer == ("yes: data.split=given" if given else "no: it comes in one part")
