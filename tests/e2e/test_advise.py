"""twotower advise on a tiny log: choices without the test part, files, a stop."""

import contextlib
import functools
import io
import shlex
import signal

import pytest
from helpers import tiny

import twotower_jax
from twotower_jax.advice import files, space, speed, stages, tuning
from twotower_jax.errors import InputError
from twotower_jax.signals import Stopped
from twotower_jax.sweeps import runner

WORDS = (
    *tiny.WORLD,
    *("towers.dim=8", "towers=factors", "training.batch_size=256", "training.steps=40"),
    *("training.eval_every=10", "training.min_steps=0", "evaluation.k=[20]"),
    *("optimizer.learning_rate=0.03", "loss.temperature=0.2", "advise.minutes=0.05"),
)


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    """Two kinds of samples, one baseline and no other models: each compiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "SAMPLES", ("in_batch_logq", "in_batch"))
        patch.setattr(space, "HARD", ())
        patch.setattr(tuning, "CONFIRM_SEEDS", (101,))
        patch.setattr(tuning, "ROUNDS", 0)
        patch.setattr(stages, "sample_arms", of_two_temperatures)
        patch.setattr(stages, "baseline_arms", popularity_alone)
        # The optimum of each arm takes seconds.
        plain = functools.partial(files.write_reports, objective=False)
        patch.setattr(files, "write_reports", plain)
        yield


def popularity_alone(config, data, leave_out):
    """No baseline is better than the models, so that one of these is the choice."""
    return space.baseline_arms(config, data, leave_out)[:1]


def of_two_temperatures(log, config, given):
    """In-batch without logQ has another temperature than the other kinds."""
    arms = space.sample_arms(log, config, given)
    axes = {"loss.temperature": ["0.4"]}
    return [
        a._replace(axes=axes, first=None) if a.choice == "in_batch" else a for a in arms
    ]


@pytest.fixture(scope="module")
def advice(tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert tiny.command("advise", *WORDS, f"output={output}") == 0
    (output / "printed.txt").write_text(printed.getvalue())
    return output / "advice"


def test_the_choice_is_made_without_the_test_part(advice):
    results = list((advice / "select").glob("*/result.json"))
    assert results
    for path in results:
        assert set(tiny.read_json(path)["metrics"]) == {"valid"}
        assert not list(path.parent.glob("*.parquet"))


def test_advice_json_names_the_choice_its_controls_and_its_run(advice):
    found = tiny.read_json(advice / "advice.json")
    arms, baselines = found["arms"], found["baselines"]
    best = max(one["valid"] for one in (arms | baselines).values())
    label = next(
        k for k, one in (arms | baselines).items() if one["valid"] >= 0.98 * best
    )
    assert found["metrics"]["valid"] == (arms | baselines)[label]["valid"]
    assert arms["in-batch"]["test"]["recall@20"] > 0
    assert any(one["test"] for one in baselines.values())
    run = tiny.read_json(advice.parent / found["run"] / "result.json")
    assert run["metrics"]["test"]["recall@20"] > 0
    assert found["split"] == {"value": "temporal", "reason": "the log has times"}
    assert len(found["decision"]) == 3 and found["incomplete"] == {}
    rival = found["rival"]
    assert rival["name"] == "popularity"
    verdict = rival["differences"]["in-batch + logQ"]["recall@20"]
    assert verdict["low"] < verdict["difference"] < verdict["high"]
    assert "of popularity, the best baseline tried, " in found["decision"][0]
    report = (advice / "report.html").read_text()
    assert report.index(found["decision"][0].split(" (")[0]) < report.index("<h2>")
    assert report.index("<h2>Arms</h2>") < report.index("<h2>Against popularity</h2>")


def test_the_gain_is_told_at_one_temperature_too(advice):
    found = tiny.read_json(advice / "advice.json")
    moved = "in-batch at temperature 0.2"
    assert found["controls"][moved]["test"]["recall@20"] > 0
    assert found["controls"][moved]["test"] != found["arms"]["in-batch"]["test"]
    gain = found["decision"][1]
    assert gain.index(f"against {moved})") > gain.index("against in-batch (")


def test_the_tested_arms_train_on_valid_too_with_three_seeds(advice):
    (place,) = advice.glob("test_*")
    steps, seeds = {}, {}
    for path in place.glob("*/result.json"):
        result = tiny.read_json(path)
        assert set(result["metrics"]) == {"test"}
        config = (path.parent / "config.yaml").read_text()
        assert "fit_valid: true" in config
        arm = next(line for line in config.splitlines() if line.startswith("arm:"))
        seeds.setdefault(arm, set()).add(result["seed"])
        steps.setdefault(arm, set()).add(result["steps"])
    assert {len(one) for one in steps.values()} == {1}
    assert steps["arm: in-batch"] <= set(range(1, 46))  # 40 steps, and an eighth more
    assert {len(one) for one in seeds.values()} == {3}


def test_runs_that_fail_are_told_and_the_others_go_on(tmp_path, monkeypatch):
    """A probe, and every run of one kind of samples."""
    monkeypatch.setattr(speed, "cores", lambda: 2)
    made = runner.run

    def run(config, **words):
        if config.name.endswith("/probe") and config.seed == 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nin a program")
        if config.arm == "in-batch":
            raise InputError("no such samples")
        return made(config, **words)

    monkeypatch.setattr(runner, "run", run)
    assert tiny.command("advise", *WORDS, f"output={tmp_path}") == 0
    found = tiny.read_json(tmp_path / "advice" / "advice.json")
    lacking = found["incomplete"]
    reason = "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert lacking["probes"] == reason and lacking["in-batch"] == "no such samples"
    second = found["decision"][1]
    assert second.startswith(f"Not tried in full: probes ({reason}); ")
    assert second.endswith("in-batch (no such samples).")
    assert found["metrics"]["test"]["recall@20"] > 0
    report = (tmp_path / "advice" / "report.html").read_text()
    assert report.index("RESOURCE_EXHAUSTED") < report.index("<h2>")


@pytest.mark.slow
def test_the_recipe_trains_the_choice_on_the_whole_log(advice, tmp_path):
    words = ("--config-dir", str(advice), "--config-name", "recipe")
    assert tiny.command("train", *words, f"output={tmp_path}") == 0
    (run,) = (tmp_path / "recipe").glob("*/result.json")
    result = tiny.read_json(run)
    assert result["metrics"] == {"test": {}} and result["queries"] == {}


def test_the_last_lines_are_commands_that_take_the_choice_away(advice, tmp_path):
    *_, take, train = (advice.parent / "printed.txt").read_text().splitlines()
    twotower, *words = shlex.split(take.removeprefix("next: "))
    assert twotower == "twotower"
    words[words.index("model")] = str(tmp_path / "model")
    assert tiny.command(*words) == 0
    model = twotower_jax.load_model(tmp_path / "model")
    run = tiny.read_json(advice / "advice.json")["run"]
    assert words[1] == run and model.manifest["run"]["name"] in run
    assert train.endswith(f"twotower train --config-dir {advice} --config-name recipe")


def test_report_makes_the_report_of_an_advice_again(advice):
    """Its folder, or that of the tested runs, has the verdicts of the advice."""
    before = (advice / "comparison.csv").read_bytes()
    assert tiny.command("report", str(advice), "--no-objective") == 0
    assert (advice / "comparison.csv").read_bytes() == before
    (tested,) = advice.glob("test_*")
    assert tiny.command("report", str(tested), "--no-objective") == 0
    assert (tested / "comparison.csv").read_bytes() == before


def test_an_advice_on_other_data_is_not_overwritten(advice, capsys):
    kept = (advice / "advice.json").read_bytes()
    words = ("advise", *WORDS, f"output={advice.parent}", "data.test_share=0.3")
    assert tiny.command(*words) == 2
    said = capsys.readouterr().err
    assert "holds an advice on other data or another split" in said
    assert "give another name=" in said
    assert (advice / "advice.json").read_bytes() == kept


@pytest.mark.slow
def test_the_same_command_trains_nothing_again(advice):
    def logs():
        return {path: path.read_bytes() for path in advice.rglob("metrics.jsonl")}

    before = logs()
    assert tiny.command("advise", *WORDS, f"output={advice.parent}") == 0
    after = logs()
    assert before == {path: after[path] for path in before}


@pytest.mark.slow
def test_a_stop_gives_the_best_answer_so_far(tmp_path, monkeypatch, capsys):
    def stop(self, runs, tuner):
        raise Stopped(signal.SIGINT, 10)

    monkeypatch.setattr(stages.Advisor, "_test", stop)
    status = tiny.command("advise", *WORDS, f"output={tmp_path}")
    assert status == 128 + signal.SIGINT
    found = tiny.read_json(tmp_path / "advice" / "advice.json")
    keys = [word.partition("=")[0] for word in found["choice"]]
    assert keys and len(set(keys)) == len(keys)
    assert found["metrics"]["test"] is None
    assert "Stopped before the test" in found["decision"][1]
    assert "the same command goes on" in capsys.readouterr().out


def test_a_log_without_a_valid_part_is_called_too_small(tmp_path, capsys):
    rows = "user,item\n" + "".join(f"{row % 5},{row}\n" for row in range(15))
    (tmp_path / "small.csv").write_text(rows)
    words = ("advise", "data=table", f"data.path={tmp_path}/small.csv")
    assert tiny.command(*words, f"output={tmp_path}/out") == 2
    error = capsys.readouterr().err
    assert "too small: 15 positives of 5 users" in error and "above 0.1" in error


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("advise.minutes=0", "advise.minutes=0 is not above 0"),
        ("advise.minute=3", "twotower advise has no option advise.minute"),
        ("loss.temprature=1", "loss.temprature"),
        ("arms=uniform", "arms is chosen by twotower advise"),
        ("negatives.easy.num=3", "negatives.easy.num is chosen by twotower advise"),
        ("data.valid_share=0", "data.split=temporal leaves no valid part"),
        ("data.path=nowhere.csv data=table", "nowhere.csv"),
        ("evaluation.k=[20,999]", "has 300; lower evaluation.k"),
        ("training.batch_size=99999", "training.batch_size=99999 is more than the"),
    ],
)
def test_wrong_words_are_refused_before_anything(tmp_path, capsys, word, said):
    words = ("advise", *tiny.WORLD, f"output={tmp_path}", *word.split())
    assert tiny.command(*words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
