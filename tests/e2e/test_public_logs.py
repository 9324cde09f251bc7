"""RecFlow and KuaiRand from the command line, on small files of their formats."""

import pytest
from helpers import tiny
from helpers.kuaishou import DAYS, SIZES, write_kuairand, write_recflow

SMALL = (
    "towers.dim=8",
    "towers.query=[id]",
    "towers.candidate=[id]",
    "training.batch_size=32",
    "training.steps=10",
    "training.eval_every=10",
    "evaluation.k=[10,20]",
)


def count(shown, name):
    """Return the number beside a name that ``data check`` shows."""
    (line,) = [one for one in shown.splitlines() if one.strip().startswith(f"{name} ")]
    return int(line.split()[-1].replace(",", ""))


def train(output, *words):
    """Train in a folder of the output, and return its result."""
    assert tiny.command("train", *SMALL, f"output={output}", *words) == 0
    (run,) = output.glob("*/*/result.json")
    return tiny.read_json(run)


@pytest.mark.parametrize("stages", ["all_stage", "request_id_dict"])
def test_data_check_of_recflow(stages, tmp_path, capsys):
    write_recflow(tmp_path)
    words = ("data=recflow", f"data.path={tmp_path}", f"data.recflow.stages={stages}")
    assert tiny.command("data", "check", *words, "data.recflow.kept.rank_neg=2") == 0
    shown = capsys.readouterr().out
    assert count(shown, "rows") == 3 * 20 * (sum(SIZES) - 3)
    assert count(shown, "stages: pre_ranked") == 3 * 20 * (6 + 2)
    assert count(shown, "split: test") > 0
    assert count(shown, "dropped: rows beyond recflow.kept") == 3 * 20 * 3
    days = "data.recflow.days=2024-01-13..2024-01-14"
    assert tiny.command("data", "check", *words, days) == 0
    assert count(capsys.readouterr().out, "rows") == 2 * 20 * sum(SIZES)


HARD = ("negatives=hard", "negatives.hard.stages=[retrieved,ranked:0-2]")


@pytest.mark.slow
def test_recflow_trains_with_what_its_stages_threw_out(tmp_path):
    write_recflow(tmp_path / "data", requests=40)
    words = ("data=recflow", f"data.path={tmp_path / 'data'}", *HARD)
    features = ("towers.query=[id,age]", "towers.candidate=[id,author_id,duration]")
    result = train(tmp_path / "out", *words, *features)
    assert 0 < result["metrics"]["test"]["recall@20"] <= 1


def test_tables_of_discarded_videos_have_no_places_for_a_window(tmp_path, capsys):
    write_recflow(tmp_path / "data", requests=40)
    words = ("data=recflow", f"data.path={tmp_path / 'data'}", *HARD)
    more = ("data.recflow.stages=request_id_dict", f"output={tmp_path / 'out'}")
    assert tiny.command("train", *SMALL, *words, *more) == 2
    assert "the log has no ranks" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("**/checkpoints"))


def test_data_check_of_kuairand(tmp_path, capsys):
    write_kuairand(tmp_path)
    words = ("data=kuairand", f"data.path={tmp_path}")
    assert tiny.command("data", "check", *words) == 0
    assert count(capsys.readouterr().out, "rows") == 700
    words = (*words, "data.kuairand.test=standard", "data.split=temporal")
    assert tiny.command("data", "check", *words) == 0
    assert count(capsys.readouterr().out, "rows") == 600


@pytest.mark.slow
def test_kuairand_trains_and_is_tested_on_random_exposures(tmp_path):
    write_kuairand(tmp_path / "data")
    words = ("data=kuairand", f"data.path={tmp_path / 'data'}")
    more = ("data.kuairand.statistics=[play_cnt]", "towers.candidate=[id,tag,play_cnt]")
    result = train(tmp_path / "out", *words, *more)
    assert 0 < result["metrics"]["test"]["recall@20"] <= 1


def cut_off(folder):
    path = folder / "all_stage" / f"{DAYS[2]}.feather"
    path.write_bytes(path.read_bytes()[:-9])


# The fault of a folder of RecFlow, further keys, parts of the message.
BAD = {
    "cut off": (cut_off, [], [f"{DAYS[2]}.feather", "not a feather file"]),
    "no such days": (lambda _: None, ["data.recflow.days=9"], ["data.recflow.days=9"]),
    "one day": (
        lambda _: None,
        ["data.recflow.days=1"],
        ["data.split=given needs data that comes in parts"],
    ),
    "wrong folder": (
        lambda folder: (folder / "all_stage").rename(folder / "stages"),
        [],
        ["holds no folder 'all_stage'"],
    ),
    "unknown feedback": (
        lambda _: None,
        ["data.recflow.clicked=click"],
        ["data.recflow.clicked='click' is unknown", "effective_view"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_end_with_status_2_and_leave_nothing(name, tmp_path, capsys):
    spoil, keys, parts = BAD[name]
    folder, output = tmp_path / "data", tmp_path / "out"
    write_recflow(folder)
    spoil(folder)
    words = ("data=recflow", f"data.path={folder}", *keys)
    for command in (("train", *SMALL, f"output={output}"), ("data", "check")):
        assert tiny.command(*command, *words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "Traceback" not in error
        assert all(part in error for part in parts), error
    assert not list(output.glob("**/checkpoints"))
    assert not list(output.glob("**/result.json"))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("source", ["recflow", "kuairand"])
def test_a_folder_that_is_not_set_or_not_there(source, tmp_path, capsys):
    for words, part in (
        ((), "data.path is not set; give the folder with"),
        ((f"data.path={tmp_path / 'gone'}",), "does not exist; give the folder with"),
    ):
        assert tiny.command("data", "check", f"data={source}", *words) == 2
        assert part in capsys.readouterr().err
