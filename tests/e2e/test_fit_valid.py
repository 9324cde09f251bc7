"""Training on the valid part too, for as many steps as validation chose."""

import shutil
import signal
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import tiny

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.split import MOVED
from twotower_jax.errors import InputError
from twotower_jax.run.execute import Sharing, run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import check_sizes, load_data
from twotower_jax.run.problem import finds_length
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.sweeps.compose import compose_config

# At this rate the best validation is far from the last.
FOUND = ("training.min_steps=0", "training.patience=2", "optimizer.learning_rate=1.0")


def make(output, *words: str) -> Config:
    return tiny.make_config(output, "data.fit_valid=true", *FOUND, *words)


def alone(config: Config) -> Config:
    """Return the run on the train part that the user would have made himself."""
    data = replace(config.data, fit_valid=False)
    evaluation = replace(config.evaluation, test=False)
    return replace(config, data=data, evaluation=evaluation)


def test_the_steps_are_the_best_of_a_run_without_the_valid_part(tmp_path):
    config = make(tmp_path, "training.eval_every=3")
    result, folder = run(config), run_folder(config)
    other = folder.parent / "select" / fingerprint(alone(config))
    found = RunFolder(other).result()
    assert "test" not in found["metrics"] and found["stopped"] == "patience"
    assert result["steps"] == result["best_step"] == found["best_step"] < found["steps"]
    assert result["length"]["run"] == f"select/{other.name}"
    assert tiny.read_json(folder / "manifest.json")["length"] == result["length"]
    steps = (f"training.steps={found['best_step']}", "training.patience=0")
    by_hand = run(make(tmp_path, "training.eval_every=3", *steps))
    assert by_hand["metrics"] == result["metrics"] and by_hand["length"] is None
    # The finished run needs the other no more.
    shutil.rmtree(other)
    assert run(config) == tiny.read_json(folder / "result.json")
    assert not other.exists()


def test_a_rate_that_falls_is_that_of_the_other_run(tmp_path):
    falls = ("training.eval_every=3", "optimizer.decay=true")
    result = run(make(tmp_path, *falls))
    assert result["length"]["schedule"]["steps"] == 40 > result["steps"]
    steps = (f"training.steps={result['steps']}", "training.patience=0")
    assert run(make(tmp_path, *falls, *steps))["metrics"] != result["metrics"]


class Stops:
    """A progress line that asks a run to stop after some of its calls."""

    def __init__(self, calls: int, request: StopRequest):
        self.left, self.request = calls, request

    def __call__(self, *_: Any) -> "Stops":
        return self

    def update(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.request.number = signal.SIGTERM

    def validated(self, metrics: dict[str, float]) -> None:
        del metrics

    def close(self) -> None:
        pass


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_was_stopped_in_either_training_goes_on(tmp_path, begun):
    words = ("training.eval_every=3", "training.steps_per_dispatch=3")
    whole = run(make(tmp_path / "whole", *words))
    request, config = StopRequest(), make(tmp_path / "parts", *words)
    validations = whole["length"]["steps"] // 3
    assert validations > 1
    calls = validations + 3 if begun else 2  # the first training has two more
    with pytest.raises(Stopped):
        run(config, shared=Sharing(request=request, progress=Stops(calls, request)))
    folder = run_folder(config)
    assert (folder / "manifest.json").exists() == begun
    if begun:  # the number of steps is in the manifest
        shutil.rmtree(folder.parent / "select")
    again = run(config)
    for key in ("metrics", "steps", "length"):
        assert again[key] == whole[key]


def test_a_run_of_an_earlier_version_is_not_taken_for_it(tmp_path):
    config = make(tmp_path, "training.eval_every=3")
    run(config)
    record = RunFolder(run_folder(config))
    record.write("manifest", (record.read("manifest") or {}) | {"length": None})
    with pytest.raises(InputError, match="run of an earlier version.* set name= to"):
        run(config)


GOWALLA, YELP = 810_128, 1_237_259


@pytest.mark.parametrize(
    ("words", "positives", "finds"),
    [
        ((), 5_000, True),
        (("training.patience=3",), 5_000, True),
        (("training.patience=3", "training.steps=900"), 5_000, True),
        (("training.steps=900",), 5_000, False),
        (("training.patience=0",), 5_000, False),
        (("training.epochs=1",), 5_000, False),
        (("towers.kind=popularity",), 5_000, False),
        (("experiment=gowalla",), GOWALLA, False),
        (("experiment=papers/bsl",), GOWALLA, False),
        (("experiment=papers/bsl_lists",), GOWALLA, False),
        (("experiment=papers/bsl_yelp",), YELP, False),
        (("experiment=papers/sl_at_k_all",), 100_000, False),
        (("experiment=papers/sl_at_k_gowalla_all",), GOWALLA, False),
        (("experiment=papers/recflow_published",), 40_000_000, False),
    ],
)
def test_a_number_that_is_given_counts(words: Iterable[str], positives, finds):
    config = compose_config(["data.fit_valid=true", *words])
    split: Any = SimpleNamespace(
        train=range(positives), valid=(), report={MOVED: positives // 10}
    )
    assert finds_length(config, split) == finds


def test_prepared_data_without_a_valid_part_are_refused(tmp_path):
    config = make(tmp_path)
    data = load_data(config)
    prepared = replace(config, data=replace(config.data, fit_valid=False))
    check_sizes(prepared, data)
    with pytest.raises(InputError, match="prepared with data.fit_valid=true.*patience"):
        finds_length(prepared, data.split)


@pytest.mark.slow
def test_runs_of_a_sweep_find_their_own_and_the_study_has_them_alone(tmp_path):
    words = (*tiny.SMALL, *FOUND, "data.fit_valid=true", "training.eval_every=3")
    sweep = (*words, "seed=0,1", f"output={tmp_path}", "name=sweep")
    assert tiny.command("train", "-m", *sweep, "hydra/launcher=fused") == 0
    assert (tmp_path / "sweep" / "report.html").exists()
    for seed in (0, 1):
        config = make(tmp_path, "training.eval_every=3", f"seed={seed}", "name=sweep")
        fused = RunFolder(run_folder(config)).result()
        single = run(replace(config, name="single"))
        assert single["metrics"]["test"] == fused["metrics"]["test"]
        assert single["length"] == fused["length"]
