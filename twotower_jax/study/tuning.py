"""Whether the arms of a study were tuned alike, so that differences may have words."""

from collections.abc import Mapping, Sequence
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
      text: how the arms were tuned, or that they were not.
      trials: number of trials of each arm, 0 for an untuned one; an arm without numbers
        to tune is not among them. None: all arms count as tuned alike.
      keys: the tuned keys.
    """

    text: str
    trials: dict[str, int] | None
    keys: tuple[str, ...] = ()

    def alike(self, arm: str, other: str) -> bool:
        """Whether two arms were tuned alike, so that their difference may have a word.

        Args:
          arm, other: names of arms.

        Examples:
          >>> tuning = Tuning("", {"in-batch": 24, "uniform": 24, "iALS": 0})
          >>> tuning.alike("in-batch", "uniform"), tuning.alike("in-batch", "iALS")
          (True, False)
          >>> tuning.alike("in-batch", "popularity")  # has nothing to tune
          True
        """
        if self.trials is None:
            return True
        known = {self.trials[one] for one in (arm, other) if one in self.trials}
        return 0 not in known and len(known) <= 1

    @property
    def tuned(self) -> bool:
        """Whether all arms were tuned alike."""
        numbers = set((self.trials or {}).values())
        return 0 not in numbers and len(numbers) <= 1


def study_tuning(
    runs: Runs, arms: Mapping[str, Mapping[int, Run]], declared: str | None = None
) -> Tuning:
    """The tuning of a study: as declared, or by the selections in its folders.

    An arm was tuned if each of its runs is a chosen point of a selection.

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
        return Tuning(f"Tuned: {declared}", None, TUNED_KEYS)
    selections = {folder: read_selection(folder) for folder in runs.folders}
    found = [one for one in selections.values() if one is not None]
    keys = tuple(dict.fromkeys(key for one in found for key in one.axes))
    trials = {
        arm: min(
            _trials(run, selections.get(run.path.parent)) for run in by_seed.values()
        )
        for arm, by_seed in arms.items()
        if not all(_has_nothing_to_tune(run) for run in by_seed.values())
    }
    return Tuning(_text(trials, found), trials, keys)


def _text(trials: dict[str, int], selections: Sequence[Selection]) -> str:
    """Return the numbers of trials, and the arms without any."""
    untuned = [arm for arm, number in trials.items() if not number]
    tuned = {arm: number for arm, number in trials.items() if number}
    if not trials:
        return "Nothing to tune."
    if not tuned:
        return "Untuned."
    seeds = dict.fromkeys(str(seed) for one in selections for seed in one.tune_seeds)
    each = f"{', '.join(map(str, sorted(set(tuned.values()))))} trials per arm"
    if len(set(tuned.values())) > 1:
        each = "trials " + ", ".join(f"{arm} {number}" for arm, number in tuned.items())
    text = f"Tuned: {each} on validation, with seeds {', '.join(seeds)}."
    return text + (f" Untuned: {', '.join(untuned)}." if untuned else "")


def _trials(run: Run, selection: Selection | None) -> int:
    """Return the number of trials of a run's arm; 0 where the run was not chosen."""
    for one in selection.arms if selection else ():
        if run.path.name in one.runs:
            return len(one.trials)
    return 0


def _has_nothing_to_tune(run: Run) -> bool:
    towers = run.config.get("towers")
    return isinstance(towers, dict) and towers.get("kind") in NOTHING_TO_TUNE
