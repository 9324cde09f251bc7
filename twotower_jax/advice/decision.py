"""The decision of an advice in words and numbers, from its runs on test."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from twotower_jax.advice.progress import (
    LEVEL,
    Choice,
    Progress,
    contenders,
    is_level,
)
from twotower_jax.advice.space import BASE, CONTROL
from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.study.description import Description
from twotower_jax.study.load import Study, load_study
from twotower_jax.study.tables import summary
from twotower_jax.study.verdicts import BETTER, WORSE, difference_text
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
    """The decision."""

    choice: Choice  # the best arm on validation
    # What to train on, and whether it is better than the best baseline; what was not
    # tried in full; what the choice gains; how sure that is and what it cost.
    sentences: list[str]
    study: Study | None  # the runs on test; None where nothing was tested


def decide(progress: Progress, metric: str, minutes: float) -> Decision | None:
    """The decision from what was found."""
    best = progress.best
    if best is None:
        return None
    listed = "; ".join(f"{name} ({why})" for name, why in progress.incomplete.items())
    gaps = [f"Not tried in full: {listed}."] if listed else []
    if not progress.seeds or best.label not in progress.tested:
        end = "Its test failed" if progress.seeds else "Stopped before the test"
        text = f"{end}: on validation it has {metric} {best.value:.4f}."
        lines = [
            _what(progress, best, metric),
            *gaps,
            f"{text} The same command goes on.",
        ]
        return Decision(best, lines, None)
    study = load_study([tests(progress)], description(progress, metric))
    if rival := best_baseline(progress, study):
        described = replace(study.description, rival=rival)
        compared = study.against(rival)
        study = replace(study, description=described, rivalled=compared)
    lines = [_verdict(progress, best, study), *gaps, _gain(progress, best, study)]
    return Decision(best, [*lines, _certainty(progress, best, study, minutes)], study)


def best_baseline(progress: Progress, study: Study) -> str | None:
    """The tested baseline with the best mean on test; None where none was tested.

    Chosen on test, its value is rather too high: a gain over it is no artefact of that.
    """
    names = [
        choice.label for choice in progress.baselines if choice.label in progress.tested
    ]
    values = {name: slices(study, name)[study.metric] or 0.0 for name in names}
    return max(values, key=lambda name: values[name], default=None)


def tests(progress: Progress) -> Path:
    """Folder of the runs on test."""
    if progress.tests is None:
        raise ValueError("nothing was tested")
    return progress.tests


def description(progress: Progress, metric: str) -> Description:
    """The description of the study of the tested arms."""
    return Description(
        question="Which samples should a model of this log be trained on?",
        metric=metric,
        base=_label(progress, BASE),
        tuned="on validation, each kind of samples by the same trials at the chosen "
        "model, each baseline by its grid (advice.json); fitted on train and valid",
    )


def _label(progress: Progress, choice: str) -> str | None:
    """The name of a tested arm by its choice of the group arms."""
    arms = [*progress.samples, *progress.baselines]
    names = [arm.label for arm in arms if arm.grid.arm.names.choice == choice]
    return names[0] if names and names[0] in progress.tested else None


def _what(progress: Progress, best: Choice, metric: str) -> str:
    """Return what to train on."""
    words = " ".join(point_words(best.point))
    if best in progress.baselines:
        rest = f"; the best two-tower model has {_best_samples(progress):.4f}" * bool(
            progress.samples
        )
        return (
            f"Serve {best.label} ({words or 'nothing to tune'}): on validation its "
            f"{metric} is {best.value:.4f}{rest}."
        )
    choice = best.grid.arm.names.choice or ""
    model = progress.model.point if progress.model else {}
    shown = {**model, **best.point}
    return (
        f"Train on {SAMPLES[choice]} (arms={choice}), with the model "
        f"{' '.join(point_words(shown))}."
    )


def _verdict(progress: Progress, best: Choice, study: Study) -> str:
    """Return what to train on, and whether it is better than the best baseline."""
    text, rival = _what(progress, best, study.metric), study.rival
    trained = [
        choice
        for choice in contenders(progress.samples)
        if choice.label in progress.tested
    ]
    if best not in progress.baselines:
        trained = [best]
    if not trained or not rival:
        return text
    arm = max(trained, key=lambda choice: choice.value).label
    row = _row(study.rivalled, arm, study.metric)
    means = " against ".join(f"{row[key]:.4f}" for key in ("mean", "base_mean"))
    shown = (
        f"{study.metric} on test {means} of {rival}, the best baseline tried, "
        f"{difference_text(row)}"
    )
    word = row["verdict"] or ""
    if word.startswith(BETTER):
        return f"{text} {arm} is better than {rival}: {shown}."
    if word.startswith(WORSE) and best not in progress.baselines:
        needed = text[0].lower() + text[1:]
        return (
            f"{rival} is better than {arm}: {shown}. Serve {rival}; where a two-tower "
            f"model is needed, {needed}"
        )
    return f"No gain of {arm} over {rival} is shown: {shown}. {text}"


def _best_samples(progress: Progress) -> float:
    return max((choice.value for choice in contenders(progress.samples)), default=0.0)


def _gain(progress: Progress, best: Choice, study: Study) -> str:
    """Return what the choice gains over in-batch negatives and the best baseline."""
    base = study.base
    means = slices(study, best.label)
    text = f"On test its {study.metric} is {means[study.metric]:.4f}"
    parts = []
    if base not in ("", best.label):
        parts.append(_against(study, best, base))
    if moved := progress.controls.get(base or ""):
        parts[-1] += f" ({_against(study, best, moved)})"
    head = ", ".join(
        f"{bucket} {means.get(f'{study.metric}/{bucket}') or 0.0:.4f}"
        for bucket in BUCKETS
    )
    text += f", {' and '.join(parts)}; {head}" if parts else f"; {head}"
    named = (base, study.rival)
    return f"{text}{_ahead(progress, best, study, named)}.{_by_slice(study, best)}"


def _by_slice(study: Study, best: Choice) -> str:
    """The differences to the best baseline by slice and in ndcg, in words."""
    names = {m: m.rpartition("/")[2] for m in rival_metrics(study) if m != study.metric}
    if best.label not in (compared := study.rivalled)["arm"] or not names:
        return ""
    rows = {name: _row(compared, best.label, metric) for metric, name in names.items()}
    words = [
        f"{name} {difference_text(row)}, {row['verdict'] or 'no verdict'}"
        for name, row in rows.items()
        if row["difference"] is not None
    ]
    return f" Against {study.rival}: {'; '.join(words)}."


def rival_metrics(study: Study) -> list[str]:
    """The primary metric, its slices and ndcg."""
    sliced = [name for name in study.shown if name.rpartition("/")[2] in BUCKETS]
    ndcg = [name for name in study.shown if name.startswith("ndcg@")]
    return list(dict.fromkeys([study.metric, *sliced, *ndcg]))


def rival_values(study: Study | None) -> dict[str, Any] | None:
    """The best baseline on test, and the differences of the tested arms to it."""
    if study is None or not study.rival:
        return None
    kept = ("difference", "low_verdict", "high_verdict", "verdict")
    differences: dict[str, Any] = {}
    for row in study.rivalled.rows(named=True):
        if row["metric"] in rival_metrics(study):
            values = {key.removesuffix("_verdict"): row[key] for key in kept}
            differences.setdefault(row["arm"], {})[row["metric"]] = values
    return {"name": study.rival, "differences": differences}


def _ahead(
    progress: Progress, best: Choice, study: Study, named: Collection[str | None]
) -> str:
    """Return which tested arm is ahead of the choice on test; "" for none."""
    values = {arm: slices(study, arm)[study.metric] or 0.0 for arm in progress.tested}
    top = max(values, key=lambda arm: values[arm])
    if top == best.label:
        return ""
    row = _row(study.against(top), best.label, study.metric)
    if row["high_verdict"] is None or row["high_verdict"] >= 0:
        return ""
    by = "" if top in named else f", {difference_text(row)}"
    return (
        f"; but there {top} has {values[top]:.4f}, and the choice is behind it{by}: "
        "validation and test disagree"
    )


def _against(study: Study, best: Choice, other: str) -> str:
    """The difference of the choice to another tested arm, with its interval."""
    row = _row(study.against(other), best.label, study.metric)
    return f"{difference_text(row)} against {other}"


def _row(comparison: pl.DataFrame, arm: str, metric: str) -> dict[str, Any]:
    """The comparison of an arm in one metric."""
    rows = comparison.rows(named=True)
    return next(r for r in rows if r["arm"] == arm and r["metric"] == metric)


def _certainty(progress: Progress, best: Choice, study: Study, minutes: float) -> str:
    """Return how sure the decision is, what it cost, and what could change it."""
    level = [
        choice.label
        for choice in contenders(progress.samples)
        if choice is not best and is_level(choice.value, _best_samples(progress))
    ]
    text = (
        f"{len(progress.seeds)} seeds, {minutes:.1f} minutes; chosen on validation, "
        "which has no row of the test part"
    )
    if best in progress.samples:
        text += (
            f"; level there, within {LEVEL:.0%} of the best: {', '.join(level)}"
            if level
            else f"; no other kind of samples is within {LEVEL:.0%} of it there"
        )
    tested = [
        choice for choice in progress.baselines if choice.label in progress.tested
    ]
    points = ", ".join(
        f"{choice.label} {choice.tried}" for choice in tested if len(choice.trials) > 1
    )
    text += f"; points tried of the tested baselines: {points}" if points else ""
    return f"{text}. More minutes try more points and train longer."


def slices(study: Study, arm: str) -> dict[str, float | None]:
    """Means of an arm on test: the primary metric and its slices by popularity."""
    names = [study.metric, *(f"{study.metric}/{bucket}" for bucket in BUCKETS)]
    rows = summary(study.table, names, "test").rows(named=True)
    return {row["metric"]: row["mean"] for row in rows if row["arm"] == arm}


def arm_values(progress: Progress, study: Study | None) -> dict[str, Any]:
    """Values of every arm on validation and, where it was tested, on test."""
    values: dict[str, Any] = {}
    for choice in [*progress.samples, *progress.baselines]:
        tested = study is not None and choice.label in progress.tested
        values[choice.label] = {
            "overrides": [
                f"arms={choice.grid.arm.names.choice}",
                *point_words(choice.point),
            ],
            "valid": choice.value,
            "points": choice.tried,
            "test": slices(study, choice.label) if tested and study else None,
        }
    return values


def control_values(progress: Progress, study: Study | None) -> dict[str, Any]:
    """Values on test of kinds of samples at the temperature of the choice."""
    if study is None:
        return {}
    return {
        label: {
            "overrides": [
                w for w in progress.tested[label] if not w.startswith("name=")
            ],
            "test": slices(study, label),
        }
        for label in progress.controls.values()
    }


def run_of(study: Study | None, arm: str) -> str | None:
    """Path of the first run of an arm on test."""
    if study is None:
        return None
    runs = study.pairing.arms[arm]
    return str(runs[min(runs)].path)
