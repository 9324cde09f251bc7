"""Whether the arms of a study were trained alike, and enough.

An arm is still learning if its last validation is its best: more steps would have
changed it. Arms with different numbers of steps are trained alike only if each was
ended by its patience, or if its steps are those of its best validation: of runs that
train on the valid part too (``data.fit_valid``), which have nothing to end them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower_jax.config.convert import all_values
from twotower_jax.negatives.config import whole_catalogue
from twotower_jax.study.naming import is_baseline
from twotower_jax.study.runs import Run

STILL_LEARNING = "still learning"
AT_LIMIT = "at its limit"
BASELINE, ORACLE = "baseline", "oracle"
TOLERANCE = 0.01  # of the steps: fewer are the rounding of epochs

Arms = Mapping[str, Mapping[int, Run]]


def trained_arms(configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arms that have a control: neither baselines nor the full softmax.

    A baseline has no samples. The full softmax differs from any sampled loss in one
    choice, whatever its samples, so it is a reference and not a control.
    """
    return {
        arm: config
        for arm, config in configs.items()
        if not is_baseline(config) and not is_oracle(config)
    }


def is_oracle(config: Mapping[str, Any]) -> bool:
    """Whether a configuration trains on the whole catalogue."""
    return whole_catalogue(all_values(config))


def training_mark(runs: Sequence[Run]) -> str:
    """The mark of an arm in tables."""
    if all(is_baseline(run.config) for run in runs):
        return BASELINE
    if 2 * sum(map(_still_learning, runs)) >= len(runs):
        return STILL_LEARNING
    return AT_LIMIT if 2 * sum(map(_at_limit, runs)) >= len(runs) else ""


def _still_learning(run: Run) -> bool:
    """Whether the last of a run's validations is its best."""
    result = run.result
    steps, best = result.get("steps"), result.get("best_step")
    validated = bool(result["metrics"].get("valid"))
    return validated and isinstance(steps, int) and 0 < steps == best


def _at_limit(run: Run) -> bool:
    """Whether a run with a patience went on to its last step."""
    training = run.config.get("training")
    patience = training.get("patience", 0) if isinstance(training, dict) else 0
    validated = bool(run.result["metrics"].get("valid"))
    return validated and patience != 0 and run.result.get("stopped") == "limit"


def training_warnings(arms: Arms, references: Mapping[str, str]) -> list[str]:
    """The sentences about arms that were not trained enough, or not alike."""
    marks = {arm: training_mark(list(runs.values())) for arm, runs in arms.items()}
    learning = [arm for arm, mark in marks.items() if mark == STILL_LEARNING]
    limited = [arm for arm, mark in marks.items() if mark == AT_LIMIT]
    lines = []
    if learning:
        lines.append(
            "Still learning, with the best validation at the last step: "
            f"{_list(learning)}. With more steps the order of the arms may change; "
            "raise training.steps or training.epochs."
        )
    if limited:
        lines.append(
            f"At their limit of steps before their patience ended them: "
            f"{_list(limited)}. Raise training.steps or training.epochs."
        )
    uneven = [
        f"{arm} trained {_steps(arms[arm]):,.0f} steps against "
        f"{_steps(arms[other]):,.0f} of {other}"
        for arm, other in references.items()
        if _uneven(arms[arm], arms[other])
    ]
    if uneven:
        lines.append(
            f"Not trained alike: {'; '.join(uneven)}. Give all arms the same steps, or "
            "end each by the same training.patience."
        )
    return lines


def _uneven(arm: Mapping[int, Run], other: Mapping[int, Run]) -> bool:
    """Whether two arms differ in steps other than by the same patience."""
    runs = [*arm.values(), *other.values()]
    if any(is_baseline(run.config) for run in runs):
        return False
    steps = sorted((_steps(arm), _steps(other)))
    if steps[1] - steps[0] <= TOLERANCE * steps[1]:
        return False
    if all(_fits_valid(run) for run in runs):
        return False
    by_patience = all(run.result.get("stopped") == "patience" for run in runs)
    return not (by_patience and len({str(_patience(run)) for run in runs}) == 1)


def _fits_valid(run: Run) -> bool:
    data = run.config.get("data")
    return isinstance(data, dict) and data.get("fit_valid") is True


def _patience(run: Run) -> Any:
    training = run.config.get("training")
    return training.get("patience") if isinstance(training, dict) else None


def _steps(runs: Mapping[int, Run]) -> float:
    """The mean number of steps of an arm; 0 where it is not known."""
    steps = [run.result.get("steps") for run in runs.values()]
    known = [step for step in steps if isinstance(step, int)]
    return sum(known) / len(known) if known else 0.0


def _list(arms: Sequence[str]) -> str:
    return ", ".join(arms)
