"""The choice on validation, and the arms that are tested beside it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twotower_jax.advice.progress import Progress, arms_to_test, keep_better


def choice(name: str, value: float, fresh: tuple[float, ...] = ()) -> Any:
    names = SimpleNamespace(choice=name, kind=name.removeprefix("baseline/"))
    grid = SimpleNamespace(arm=SimpleNamespace(names=names))
    return SimpleNamespace(grid=grid, value=value, label=name, fresh=fresh)


def progress(samples, baselines):
    found = Progress(Path())
    found.samples = [choice(*one) for one in samples.items()]
    found.baselines = [choice(f"baseline/{name}", v) for name, v in baselines.items()]
    return found


def best(samples, baselines=None):
    return cast(Any, progress(samples, baselines or BASELINES).best).label


BASELINES = {"popularity": 0.05, "ease": 0.15}


def test_of_level_samples_the_simplest_is_chosen():
    level = {"in_batch_logq": 0.199, "in_batch": 0.1, "uniform": 0.2}
    assert best(level) == "in_batch_logq"
    assert best(level | {"in_batch_logq": 0.19}) == "uniform"


def test_kinds_without_fresh_seeds_do_not_compete_with_those_that_have_them():
    """A value of one seed that was chosen is too high beside a mean of fresh seeds."""
    found = progress({}, BASELINES)
    found.samples = [choice("in_batch_logq", 0.18, (0.18,)), choice("uniform", 0.195)]
    assert cast(Any, found.best).label == "in_batch_logq"
    assert "uniform" not in {one.label for one in arms_to_test(found)}


def test_a_baseline_that_is_better_is_chosen():
    assert best({"in_batch_logq": 0.2}, {"ease": 0.21}) == "baseline/ease"
    assert progress({}, {}).best is None


def test_the_controls_of_the_choice_are_tested_beside_it():
    def names(samples):
        return {one.label for one in arms_to_test(progress(samples, BASELINES))}

    always = {"in_batch_logq", "in_batch", "baseline/ease", "baseline/popularity"}
    samples = {"in_batch_logq": 0.2, "in_batch": 0.1, "uniform": 0.1, "mixed": 0.1}
    assert names(samples) == always
    assert names(samples | {"uniform": 0.3}) == always | {"uniform"}
    hard = {"mixed_slots": 0.1, "half_hard": 0.3}
    assert names(samples | hard) == always | {"half_hard", "mixed_slots"}


def test_baselines_near_the_best_one_are_tested_too():
    """Any of them may be the best on test."""
    baselines = {"popularity": 0.05, "item_knn": 0.136, "ease": 0.15, "ials": 0.134}
    found = progress({"in_batch_logq": 0.2}, baselines)
    tested = [one.label for one in arms_to_test(found)]
    names = [f"baseline/{name}" for name in ("ease", "item_knn", "popularity")]
    assert tested == ["in_batch_logq", *names]


def test_the_better_point_of_the_control_is_kept():
    """Halving dropped it among the samples, though the model was trained with it."""
    samples = [choice("in_batch_logq", 0.16), choice("uniform", 0.17)]
    better, worse = choice("in_batch_logq", 0.18), choice("in_batch_logq", 0.15)
    assert keep_better(samples, better) == [better, samples[1]]
    assert keep_better(samples, worse) == samples
