"""What a reader has to know before the numbers of a study: one sentence each."""

from collections.abc import Sequence

from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.comparison import compare_arms
from twotower_jax.study.controls import negatives_of_a_row
from twotower_jax.study.load import Study
from twotower_jax.study.naming import flatten, is_baseline, short_key
from twotower_jax.study.tables import idle_sources, main_split, summary
from twotower_jax.study.trained import (
    BASELINE,
    ORACLE,
    is_oracle,
    training_mark,
    training_warnings,
)
from twotower_jax.study.verdicts import CANNOT_TELL, SEEDS, UNTUNED

# Arms that are tuned alike may stop at different steps; that is not a difference in
# what was chosen.
OWN = "training.steps"


def other_values(study: Study) -> str:
    """The warning for differences to a control that may be those of a tuned value.

    Arms that are tuned alike may end at other values, such as temperatures. Then the
    difference between them is that of two choices, the samples and the value.
    """
    words = {
        row["arm"]: row["verdict"] or CANNOT_TELL
        for row in study.controlled.rows(named=True)
        if row["metric"] == study.metric
    }
    listed = [
        f"{arm} ({values})"
        for arm, one in study.controls.items()
        if one.control
        and not words.get(arm, CANNOT_TELL).startswith(CANNOT_TELL)
        and (values := _differing(study, arm, one.control))
    ]
    if not listed:
        return ""
    return (
        "Tuning chose other values for these arms than for their controls, so their "
        f"differences may be those of the values: {', '.join(listed)}. Run both with "
        "one value to tell."
    )


def _differing(study: Study, arm: str, control: str) -> str:
    """The tuned keys in which two arms differ, with both values."""
    first, second = (
        flatten(next(iter(study.pairing.arms[name].values())).config)
        for name in (arm, control)
    )
    return ", ".join(
        f"{short_key(key)} {first.get(key)}, control {second.get(key)}"
        for key in study.tuning.keys
        if key != OWN
        and first.get(key) != second.get(key)
        and key in first
        and key in second
    )


def cautions(study: Study) -> list[str]:
    """The warnings of a study, the gravest first."""
    lines = [lost_to_baseline(study), study.missing_base]
    if len(study.pairing.arms) > 1:
        lines += [_untuned(study), *(one.warning for one in study.controls.values())]
        lines += [_faults_of_tuning(study), other_values(study), other_numbers(study)]
    references = dict(study.comparison.select("arm", "base").iter_rows())
    references |= {a: one.control for a, one in study.controls.items() if one.control}
    lines += training_warnings(study.pairing.arms, references)
    lines += [_idle_sources(study), _few_seeds(study)]
    return [line for line in lines if line]


def lost_to_baseline(study: Study) -> str:
    """The sentence for a study whose best baseline has a better mean than each arm."""
    means = summary(study.table, [study.metric], main_split(study.table))
    values = dict(means.drop_nulls("mean").select("arm", "mean").iter_rows())
    baselines = [arm for arm in values if _is_baseline(study, arm)]
    trained = [arm for arm in values if arm not in baselines]
    if not baselines or not trained:
        return ""
    best_of = max if larger_is_better(study.metric) else min
    first, best = (
        best_of(ones, key=values.__getitem__) for ones in (baselines, trained)
    )
    if best_of(values[first], values[best]) != values[first]:
        return ""
    text = (
        f"{first} has {study.metric} {values[first]:.4f}, and the best arm, {best}, "
        f"{values[best]:.4f}"
    )
    pair = compare_arms(study.pairing, [study.metric], {best: first})
    difference, low, high = pair.select("difference", "low", "high").row(0)
    if low is not None and low <= 0 <= high:
        return (
            f"No arm is shown to be better than a baseline: {text} "
            f"({difference:+.4f}, {low:+.4f} to {high:+.4f})."
        )
    return (
        f"Every arm loses to a baseline: {text}. The study compares models that nobody "
        "would serve."
    )


def _is_baseline(study: Study, arm: str) -> bool:
    return all(is_baseline(run.config) for run in study.pairing.arms[arm].values())


def _untuned(study: Study) -> str:
    """Return why differences have no verdict, or an empty text."""
    if study.tuning.tuned:
        return ""
    return (
        f"{study.tuning.text} Differences of arms that were not tuned alike are only "
        f'"{UNTUNED}": another learning rate or temperature may reverse them. Tune '
        "every arm alike with hydra/sweeper=select, or name the place where the "
        "settings were tuned by hydra.callbacks.study.tuned or twotower report --tuned."
    )


def _faults_of_tuning(study: Study) -> str:
    """The arms whose settings carry no verdict, or an empty text."""
    faults: dict[str, list[str]] = {}
    for arm, fault in study.tuning.faults.items():
        faults.setdefault(fault, []).append(arm)
    if not faults:
        return ""
    listed = "; ".join(f"{fault}: {', '.join(arms)}" for fault, arms in faults.items())
    return (
        f"No verdict for arms whose settings are not settled. {listed}. Tune each arm "
        f"on these data with {SEEDS} seeds or more (hydra.sweeper.tune_seeds), and "
        "widen an axis at whose end a value was chosen."
    )


def other_numbers(study: Study) -> str:
    """The arms with another number of negatives than their control."""
    numbers = {
        arm: negatives_of_a_row(next(iter(runs.values())).config)
        for arm, runs in study.pairing.arms.items()
    }
    listed = [
        f"{arm} {numbers[arm]:,} against {numbers[one.control]:,} of {one.control}"
        for arm, one in study.controls.items()
        if one.control and numbers[arm] != numbers[one.control]
    ]
    if not listed:
        return ""
    return (
        f"Other numbers of negatives a row than the control: {'; '.join(listed)}. The "
        "difference is that of the number too."
    )


def _idle_sources(study: Study) -> str:
    """The arms whose bank or mining came too late, or an empty text."""
    idle = idle_sources(study.runs)
    if not idle:
        return ""
    return (
        "The best parameters are from before the first use of a source of negatives, "
        f"which had no effect on them: {', '.join(idle)}. Lower its warm-up."
    )


def _few_seeds(study: Study) -> str:
    """The arms with too few seeds, or an empty text."""
    few: dict[int, list[str]] = {}
    for arm, runs in study.pairing.arms.items():
        if len(runs) < SEEDS:
            few.setdefault(len(runs), []).append(arm)
    if not few:
        return ""
    listed = (
        f"{', '.join(arms)} {'has' if len(arms) == 1 else 'have'} {number}"
        for number, arms in sorted(few.items())
    )
    return (
        f"Too few seeds for a verdict, which needs {SEEDS} of both arms, better 5: "
        f"{'; '.join(listed)}."
    )


def arm_marks(study: Study, arms: Sequence[str]) -> dict[str, str]:
    """The mark of each arm in tables."""
    marks = {}
    for arm in arms:
        runs = list(study.pairing.arms[arm].values())
        oracle = all(is_oracle(run.config) for run in runs)
        mark = training_mark(runs)
        words = [ORACLE if oracle and mark != BASELINE else "", mark]
        marks[arm] = ", ".join(word for word in words if word)
    return marks
