"""A run that pauses goes on to the bits of a run that never did."""

import pytest
from helpers import tiny

from twotower_jax.study.selection import read_selection


def train(output, *words):
    assert tiny.command("train", *tiny.SMALL, f"output={output}", *words) == 0
    (folder,) = (output / "simulator").glob("*/config.yaml")
    return folder.parent


def logs(folder):
    return {path: path.read_bytes() for path in folder.rglob("metrics.jsonl")}


def test_a_paused_run_goes_on_as_if_it_had_not_paused(tmp_path, capsys):
    whole = train(tmp_path / "whole")
    folder = train(tmp_path / "parts", "pause=15")
    status = tiny.read_json(folder / "status.json")
    assert status["status"] == "paused"
    assert "at step 20; the same command without pause= goes on" in status["reason"]
    assert not (folder / "result.json").exists()
    assert not (folder / "queries.parquet").exists()  # the test part was not seen
    lines = tiny.read_lines(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [10, 20]
    # The same pause again trains nothing; a later one goes on from there.
    assert train(tmp_path / "parts", "pause=15") == folder
    assert len(tiny.read_lines(folder / "metrics.jsonl")) == 2
    records = folder / "metrics.jsonl"
    kept = records.read_text()
    records.write_text(kept.replace('"step": 10', '"step": 11'))
    words = ("train", *tiny.SMALL, f"output={tmp_path / 'parts'}", "pause=30")
    assert tiny.command(*words) == 2
    assert "metrics.jsonl is not as the run wrote it" in capsys.readouterr().err
    records.write_text(kept)
    train(tmp_path / "parts", "pause=30")
    assert len(tiny.read_lines(folder / "metrics.jsonl")) == 3
    assert (
        train(tmp_path / "parts")
        == folder
        == tmp_path / "parts" / whole.relative_to(tmp_path / "whole")
    )
    results = [tiny.read_json(one / "result.json") for one in (folder, whole)]
    for key in ("metrics", "steps", "best_step", "stopped"):
        assert results[0][key] == results[1][key]
    assert tiny.read_json(folder / "status.json")["status"] == "done"
    assert (
        "ended by pause: the same command without it goes on" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "words",
    [
        ("data.split=ratio", "data.valid_share=0"),
        ("data.fit_valid=true", "training.patience=0"),
    ],
)
def test_a_pause_without_a_validation_set_is_refused(tmp_path, capsys, words):
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "pause=15", *words)
    assert tiny.command(*words) == 2
    assert "pause=15 leaves the valid part to evaluate" in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.slow
def test_halving_trains_the_best_points_to_their_ends(tmp_path, capsys):
    words = (
        *("train", "-m", "hydra/sweeper=halving", *tiny.SMALL, f"output={tmp_path}"),
        *("name=study", "arms=in_batch,in_batch_logq", "seed=0,1,2"),
        "hydra.sweeper.tune={loss.temperature:[0.05,0.1,0.2,0.4]}",
        *("hydra.sweeper.rungs=[10,20]", "hydra.sweeper.eta=2"),
        "hydra.sweeper.tune_seeds=[100]",
    )
    assert tiny.command(*words) == 0
    selection = read_selection(tmp_path / "study")
    assert selection is not None and len(selection.arms) == 2
    steps = {}
    for path in (tmp_path / "study" / "select").glob("*/metrics.jsonl"):
        arm = tiny.read_json(path.parent / "status.json")["status"]
        steps.setdefault(arm, []).append(tiny.read_lines(path)[-1]["step"])
    # Of four points two go on from step 10, and one of these from step 20.
    assert sorted(steps["paused"]) == [10] * 4 + [20] * 2
    assert steps["done"] == [40, 40]
    for one in selection.arms:
        assert sorted(str(trial.left_at) for trial in one.trials) == [
            "10",
            "10",
            "20",
            "None",
        ]
        assert one.chosen is not None and one.trials[one.chosen].left_at is None
    tested = list((tmp_path / "study").glob("*/result.json"))
    assert len(tested) == 2 * 3
    # The same command trains nothing again: the seconds of all validations stay.
    before = logs(tmp_path), (tmp_path / "study" / "select.json").read_text()
    assert tiny.command(*words) == 0
    assert before == (logs(tmp_path), (tmp_path / "study" / "select.json").read_text())
