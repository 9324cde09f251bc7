"""A learned temperature in the files of a run, and configurations that refuse it."""

import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder


@pytest.mark.slow
def test_it_is_logged_at_each_validation_and_in_the_result(tmp_path):
    config = tiny.make_config(
        tmp_path, "loss.learn_temperature=true", "loss.temperature_min=0.01"
    )
    result = run(config)
    folder = run_folder(config)
    records = tiny.read_lines(folder / "metrics.jsonl")
    values = {one["step"]: one["temperature"] for one in records}
    assert len(set(values.values())) == len(values) == 4
    assert result["temperature"] == values[result["best_step"]]
    assert (
        tiny.read_json(folder / "result.json")["temperature"] == result["temperature"]
    )


def test_a_fixed_one_is_not_a_result(tmp_path):
    assert run(tiny.make_config(tmp_path, "training.steps=0"))["temperature"] is None


def test_hinge_does_not_learn_it(tmp_path, capsys):
    words = ["train", "loss=hinge", "loss.learn_temperature=true"]
    assert tiny.command(*words, f"output={tmp_path}") == 2
    message = "loss.learn_temperature is a key of loss=bce, gbce, "
    assert message in capsys.readouterr().err
    tiny.make_config(tmp_path, "loss=hinge", "loss.temperature=0.001")


@pytest.mark.parametrize("bound", ["temperature_min=0.2", "temperature_max=0.05"])
def test_a_start_outside_its_bounds_is_refused(bound, tmp_path):
    words = ("loss.temperature=0.1", f"loss.{bound}")
    with pytest.raises(InputError, match=rf"temperature=0\.1 starts .*loss\.{bound}"):
        tiny.make_config(tmp_path, *words, "loss.learn_temperature=true")
    tiny.make_config(tmp_path, *words)
