"""Whether the arms of a study were tuned alike, so that differences may have words."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from twotower_jax.model.towers import BASELINES
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.selection import (
    ArmChoice,
    Selection,
    edges,
    read_selection,
    tuning_sentence,
)
from twotower_jax.study.verdicts import SEEDS, UNTUNED

CARRIED = "settings carried over"
FEW_SEEDS = f"tuned with fewer than {SEEDS} seeds"
AT_END = "at the end of its grid"
# Numbers that tuning sets for each arm; a study that says it is tuned has tuned these.
TUNED_KEYS = ("optimizer.learning_rate", "loss.temperature", "training.steps")
# Values of towers.kind that have no number to tune.
NOTHING_TO_TUNE = ("popularity",)


class Tuning(NamedTuple):
    """The tuning of a study."""

    text: str  # how the arms were tuned, or that they were not
    # number of trials of each arm, 0 for an untuned one. An arm that tried all points
    # of a grid smaller than the limit of trials has that limit, and one without numbers
    # to tune is not among them. None: all count as tuned alike
    trials: dict[str, int] | None
    keys: tuple[str, ...] = ()  # the tuned keys
    # {arm: the fault of its tuning} of the arms whose differences have no verdict:
    # CARRIED, FEW_SEEDS or AT_END
    faults: Mapping[str, str] = MappingProxyType({})

    def withheld(self, arm: str, other: str) -> str:
        """The reason why the difference of two arms has no verdict; "" with one."""
        if not self.alike(arm, other):
            return UNTUNED
        return self.faults.get(arm) or self.faults.get(other, "")

    def alike(self, arm: str, other: str) -> bool:
        """Whether two arms were tuned alike, so that their difference may have a word.

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
    """
    if declared:
        return Tuning(f"Tuned: {declared}", None, TUNED_KEYS)
    selections = {folder: read_selection(folder) for folder in runs.folders}
    found = [one for one in selections.values() if one is not None]
    keys = tuple(dict.fromkeys(key for one in found for key in one.axes))
    choices = {
        arm: [_choice(run, selections.get(run.path.parent)) for run in by_seed.values()]
        for arm, by_seed in arms.items()
        if not all(map(_has_nothing_to_tune, by_seed.values()))
    }
    chosen = {arm: [one for one in ones if one] for arm, ones in choices.items()}
    limits = {one.limit for one in found}
    trials = {
        arm: 0 if None in ones else min(_trials(one, limits) for one in chosen[arm])
        for arm, ones in choices.items()
        if None in ones or any(one.tunable for one in chosen[arm])
    }
    firsts = {arm: chosen[arm][0] for arm, number in trials.items() if number}
    faults = {
        arm: fault
        for arm in firsts
        if (fault := _fault(arms[arm].values(), selections, chosen[arm]))
    }
    return Tuning(_text(trials, firsts, found), trials, keys, faults)


def _fault(
    runs: Iterable[Run],
    selections: Mapping[Path, Selection | None],
    choices: Sequence[ArmChoice],
) -> str:
    """Return why a choice of settings carries no verdict; "" where it does.

    Settings of another study may be wrong here, few seeds choose among noise, and a
    better value may lie beyond the end of a grid.
    """
    used = [one for run in runs if (one := selections.get(run.path.parent))]
    if any(one.source for one in used):
        return CARRIED
    seeded = any(_is_seeded(run) for run in runs)
    if seeded and any(len(one.tune_seeds) < SEEDS for one in used):
        return FEW_SEEDS
    return AT_END if any(map(edges, choices)) else ""


def _is_seeded(run: Run) -> bool:
    """Whether another seed gives a run other numbers."""
    towers = run.config.get("towers")
    kind = towers.get("kind") if isinstance(towers, dict) else None
    return str(kind) not in BASELINES or BASELINES[str(kind)].seeded


def _text(
    trials: dict[str, int],
    choices: dict[str, ArmChoice],
    selections: Sequence[Selection],
) -> str:
    """The numbers of trials, and the arms without any."""
    if not trials:
        return "Nothing to tune."
    if not choices:
        return "Untuned."
    seeds = list(dict.fromkeys(seed for one in selections for seed in one.tune_seeds))
    sources = list(dict.fromkeys(one.source for one in selections if one.source))
    text = tuning_sentence(choices, seeds, sources)
    if len({trials[arm] for arm in choices}) > 1:
        each = ", ".join(f"{arm} {len(one.trials)}" for arm, one in choices.items())
        shown = ", ".join(map(str, seeds))
        text = f"tuned: trials {each} on validation, seeds {shown}"
    untuned = ", ".join(arm for arm, number in trials.items() if not number)
    return f"{text[0].upper()}{text[1:]}." + (f" Untuned: {untuned}." * bool(untuned))


def _choice(run: Run, selection: Selection | None) -> ArmChoice | None:
    """The choice that a run is of, None where no selection chose it."""
    for one in selection.arms if selection else ():
        if run.path.name in one.runs:
            return one
    return None


def _trials(choice: ArmChoice, limits: set[int | None]) -> int:
    """The number of trials of an arm, the limit where its grid is smaller."""
    (limit, *others) = limits
    if limit is not None and not others and choice.exhausted:
        return limit
    return len(choice.trials)


def _has_nothing_to_tune(run: Run) -> bool:
    towers = run.config.get("towers")
    return isinstance(towers, dict) and towers.get("kind") in NOTHING_TO_TUNE
