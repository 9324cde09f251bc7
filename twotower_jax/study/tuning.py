"""Whether the arms of a study were tuned alike, so that differences may have words."""

from collections.abc import Mapping
from typing import NamedTuple

from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.selection import Selection, read_selection

# Numbers that tuning sets for each arm; a study that says it is tuned has tuned these.
TUNED_KEYS = ("optimizer.learning_rate", "loss.temperature")
# Values of towers.kind that have no number to tune.
NOTHING_TO_TUNE = ("popularity",)


class Tuning(NamedTuple):
    """The tuning of a study.

    Attributes:
      tuned: whether all arms were tuned alike.
      text: how they were tuned, or why they count as untuned.
      keys: the tuned keys.
    """

    tuned: bool
    text: str
    keys: tuple[str, ...] = ()


def study_tuning(
    runs: Runs, arms: Mapping[str, Mapping[int, Run]], declared: str | None = None
) -> Tuning:
    """The tuning of a study: as declared, or by the selections in its folders.

    The arms were tuned alike if every run is a chosen point of a selection that had the
    same number of trials for each arm. Arms without numbers to tune are left out.

    Args:
      runs: the result of `runs.read_runs`.
      arms: the runs of each arm by seed.
      declared: where the settings of the study were tuned, as the study says.

    Returns:
      The tuning.

    Raises:
      InputError: when a select.json is broken.
    """
    if declared:
        return Tuning(True, f"Tuned: {declared}", TUNED_KEYS)
    selections = {folder: read_selection(folder) for folder in runs.folders}
    trials: dict[str, set[int]] = {
        arm: {_trials(run, selections.get(run.path.parent)) for run in by_seed.values()}
        for arm, by_seed in arms.items()
        if not all(_has_nothing_to_tune(run) for run in by_seed.values())
    }
    found = [one for one in selections.values() if one is not None]
    keys = tuple(dict.fromkeys(key for one in found for key in one.axes))
    untuned = [arm for arm, numbers in trials.items() if 0 in numbers]
    if untuned:
        which = f": {', '.join(untuned)}" if len(untuned) < len(trials) else ""
        return Tuning(False, f"Untuned{which}.", keys)
    numbers = sorted(set().union(*trials.values()))
    if len(numbers) > 1:
        each = ", ".join(f"{arm} {max(ones)}" for arm, ones in trials.items())
        return Tuning(False, f"Untuned alike: trials per arm differ ({each}).", keys)
    if not numbers:
        return Tuning(True, "Nothing to tune.", keys)
    seeds = ", ".join(
        map(str, dict.fromkeys(s for one in found for s in one.tune_seeds))
    )
    text = f"Tuned: {numbers[0]} trials per arm on validation, with seeds {seeds}."
    return Tuning(True, text, keys)


def _trials(run: Run, selection: Selection | None) -> int:
    """Return the number of trials of a run's arm; 0 where the run was not chosen."""
    for one in selection.arms if selection else ():
        if run.path.name in one.runs:
            return len(one.trials)
    return 0


def _has_nothing_to_tune(run: Run) -> bool:
    towers = run.config.get("towers")
    return isinstance(towers, dict) and towers.get("kind") in NOTHING_TO_TUNE
