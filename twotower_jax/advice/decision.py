"""The decision of an advice in words and numbers, from its runs on test."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from twotower_jax.advice.progress import (
    LEVEL,
    Choice,
    Progress,
    contenders,
    is_level,
)
from twotower_jax.advice.space import BASE, CONTROL
from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.study.arms import summary
from twotower_jax.study.description import Description
from twotower_jax.study.differences import difference_text
from twotower_jax.study.load import Study, load_study
from twotower_jax.sweeps.arm_points import point_words

SAMPLES = {
    CONTROL: "in-batch negatives with logQ",
    BASE: "in-batch negatives without a correction",
    "mixed": "in-batch and uniform negatives with logQ of the mixture",
    "uniform": "uniform negatives",
    "popularity_negatives": "negatives in proportion to clicks^.75, with logQ",
    "downsample_hot": "in-batch negatives with logQ, down-sampled hot positives",
    "upsample_cold": "in-batch negatives with logQ, up-sampled cold positives",
    "mixed_slots": "in-batch negatives with logQ and uniform slots",
    "half_hard": "in-batch negatives with logQ and slots that are half hard",
}


class Decision(NamedTuple):
    """The decision.

    Attributes:
      choice: the best arm on validation.
      sentences: what to train on; what it gains; how sure that is and what it cost.
      study: the runs on test; None where nothing was tested.
    """

    choice: Choice
    sentences: list[str]
    study: Study | None


def decide(found: Progress, metric: str, minutes: float) -> Decision | None:
    """The decision from what was found.

    Args:
      found: the choices on validation, and the runs on test.
      metric: by which they were chosen.
      minutes: that were spent.

    Returns:
      The decision; None where no arm was tried to its end.
    """
    best = found.best
    if best is None:
        return None
    lines = [_what(found, best, metric)]
    if not found.seeds:
        lines.append(
            f"Stopped before the test: on validation it has {metric} "
            f"{best.value:.4f}. The same command goes on."
        )
        return Decision(best, lines, None)
    study = load_study([tests(found)], description(found, metric))
    lines += [_gain(found, best, study), _certainty(found, best, study, minutes)]
    return Decision(best, lines, study)


def tests(found: Progress) -> Path:
    """Folder of the runs on test.

    Args:
      found: what was found.

    Raises:
      ValueError: where nothing was tested.
    """
    if found.tests is None:
        raise ValueError("nothing was tested")
    return found.tests


def description(found: Progress, metric: str, answer: str | None = None) -> Description:
    """The description of the study of the tested arms.

    Args:
      found: the choices on validation.
      metric: by which they were chosen.
      answer: the decision in words.
    """
    return Description(
        question="Which samples should a model of this log be trained on?",
        answer=answer,
        metric=metric,
        base=_label(found, BASE),
        tuned="on validation, each kind of samples by the same trials at the chosen "
        "model, each baseline by its grid (advice.json); fitted on train and valid",
    )


def _label(found: Progress, choice: str) -> str | None:
    """Return the name of a tested arm by its choice of the group arms."""
    arms = [*found.samples, *found.baselines]
    names = [one.label for one in arms if one.grid.arm.names.choice == choice]
    return names[0] if names and names[0] in found.tested else None


def _what(found: Progress, best: Choice, metric: str) -> str:
    """Return what to train on."""
    words = " ".join(point_words(best.point))
    if best in found.baselines:
        rest = f"; the best two-tower model has {_best_samples(found):.4f}" * bool(
            found.samples
        )
        return (
            f"Serve {best.label} ({words or 'nothing to tune'}): on validation its "
            f"{metric} is {best.value:.4f}{rest}."
        )
    choice = best.grid.arm.names.choice or ""
    model = found.model.point if found.model else {}
    shown = {**model, **best.point}
    return (
        f"Train on {SAMPLES[choice]} (arms={choice}), with the model "
        f"{' '.join(point_words(shown))}."
    )


def _best_samples(found: Progress) -> float:
    return max((one.value for one in contenders(found.samples)), default=0.0)


def _gain(found: Progress, best: Choice, study: Study) -> str:
    """Return what the choice gains over in-batch negatives and the best baseline."""
    base = study.base
    means = slices(study, best.label)
    text = f"On test its {study.metric} is {means[study.metric]:.4f}"
    parts = []
    if best.label != base:
        parts.append(f"{_difference(study, best.label)} against {base}")
    if moved := found.controls.get(base or ""):
        parts[-1] += f" ({_against(found, best, moved, study.metric)})"
    baselines = [one for one in found.baselines if one.label in found.tested]
    other = max(baselines, key=lambda one: one.value, default=best).label
    if other not in (best.label, base):
        parts.append(_against(found, best, other, study.metric))
    head = ", ".join(
        f"{bucket} {means.get(f'{study.metric}/{bucket}') or 0.0:.4f}"
        for bucket in BUCKETS
    )
    text += f", {' and '.join(parts)}; {head}" if parts else f"; {head}"
    return f"{text}{_ahead(found, best, study, (base, other))}."


def _ahead(
    found: Progress, best: Choice, study: Study, named: Collection[str | None]
) -> str:
    """Return which tested arm is ahead of the choice on test; "" for none.

    Args:
      found: what the advice has tested.
      best: the choice on validation.
      study: the runs on test.
      named: arms to which the difference of the choice stands before.
    """
    values = {arm: slices(study, arm)[study.metric] or 0.0 for arm in found.tested}
    top = max(values, key=lambda arm: values[arm])
    if top == best.label:
        return ""
    compared = _compared(found, top, study.metric)
    row = _row(compared, best.label)
    if row["high_verdict"] is None or row["high_verdict"] >= 0:
        return ""
    by = "" if top in named else f", {difference_text(row)}"
    return (
        f"; but there {top} has {values[top]:.4f}, and the choice is behind it{by}: "
        "validation and test disagree"
    )


def _against(found: Progress, best: Choice, other: str, metric: str) -> str:
    """Return the difference of the choice to another tested arm, with its interval."""
    study = _compared(found, other, metric)
    return f"{_difference(study, best.label)} against {other}"


def _compared(found: Progress, base: str, metric: str) -> Study:
    """Return the runs on test, compared with one of their arms."""
    return load_study([tests(found)], Description(base=base, metric=metric))


def _difference(study: Study, arm: str) -> str:
    """Return the difference of an arm to the base of a study, with its interval."""
    return difference_text(_row(study, arm))


def _row(study: Study, arm: str) -> dict[str, Any]:
    """Return the comparison of an arm with the base of a study."""
    rows = study.comparison.rows(named=True)
    return next(r for r in rows if r["arm"] == arm and r["metric"] == study.metric)


def _certainty(found: Progress, best: Choice, study: Study, minutes: float) -> str:
    """Return how sure the decision is, what it cost, and what could change it."""
    level = [
        one.label
        for one in contenders(found.samples)
        if one is not best and is_level(one.value, _best_samples(found))
    ]
    text = (
        f"{len(found.seeds)} seeds, {minutes:.1f} minutes; chosen on validation, which "
        "has no row of the test part"
    )
    if best in found.samples:
        text += (
            f"; level there, within {LEVEL:.0%} of the best: {', '.join(level)}"
            if level
            else f"; no other kind of samples is within {LEVEL:.0%} of it there"
        )
    tested = [one for one in found.baselines if one.label in found.tested]
    points = ", ".join(
        f"{one.label} {one.tried}" for one in tested if len(one.trials) > 1
    )
    text += f"; points tried of the tested baselines: {points}" if points else ""
    return f"{text}. More minutes try more points and train longer."


def slices(study: Study, arm: str) -> dict[str, float | None]:
    """Means of an arm on test: the primary metric and its slices by popularity.

    Args:
      study: the runs on test.
      arm: its name.

    Returns:
      {metric: mean over the seeds}.
    """
    names = [study.metric, *(f"{study.metric}/{bucket}" for bucket in BUCKETS)]
    rows = summary(study.table, names, "test").rows(named=True)
    return {row["metric"]: row["mean"] for row in rows if row["arm"] == arm}


def arm_values(found: Progress, study: Study | None) -> dict[str, Any]:
    """Values of every arm on validation and, where it was tested, on test.

    Args:
      found: the choices on validation.
      study: the runs on test.
    """
    values: dict[str, Any] = {}
    for one in [*found.samples, *found.baselines]:
        tested = study is not None and one.label in found.tested
        values[one.label] = {
            "overrides": [f"arms={one.grid.arm.names.choice}", *point_words(one.point)],
            "valid": one.value,
            "points": one.tried,
            "test": slices(study, one.label) if tested and study else None,
        }
    return values


def control_values(found: Progress, study: Study | None) -> dict[str, Any]:
    """Values on test of kinds of samples at the temperature of the choice.

    Args:
      found: the tested runs.
      study: these runs; None where nothing was tested.
    """
    if study is None:
        return {}
    return {
        label: {
            "overrides": [w for w in found.tested[label] if not w.startswith("name=")],
            "test": slices(study, label),
        }
        for label in found.controls.values()
    }


def run_of(study: Study | None, arm: str) -> str | None:
    """Path of the first run of an arm on test.

    Args:
      study: the runs on test.
      arm: its name.
    """
    if study is None:
        return None
    runs = study.pairing.arms[arm]
    return str(runs[min(runs)].path)
