"""The answer of a study in one sentence, which its report begins with."""

from typing import Any

import polars as pl

from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.comparison import compare_arms
from twotower_jax.study.load import Study
from twotower_jax.study.naming import is_baseline
from twotower_jax.study.tables import main_split, rank_arms, summary
from twotower_jax.study.trained import is_oracle
from twotower_jax.study.verdicts import BETTER, EQUIVALENT, WORSE, difference_text


def answer(study: Study) -> str:
    """The described answer of a study, else the best arm against the base.

    Baselines and the full softmax are not among the arms: no choice of samples.
    """
    if study.description.answer:
        return study.description.answer
    means = summary(study.table, [study.metric], main_split(study.table))
    values = dict(means.drop_nulls("mean").select("arm", "mean").iter_rows())
    arms = [arm for arm in values if _is_choice(study, arm)]
    if len(arms) < 2:
        return ""
    best_of = max if larger_is_better(study.metric) else min
    best = best_of(arms, key=values.__getitem__)
    if study.base not in values:
        return (
            f"{best} has the best {study.metric}, {values[best]:.4f}; there is no base "
            "arm to compare it to."
        )
    rows = study.comparison.filter(pl.col("metric") == study.metric).rows(named=True)
    compared = {row["arm"]: row for row in rows if row["arm"] in arms}
    if best == study.base:
        return _base_is_best(study, values[best], compared)
    row = compared[best]
    return (
        f"{best} has the best {study.metric}, {values[best]:.4f}, against "
        f"{values[study.base]:.4f} of {study.base}: {_difference(row)}."
    )


def best_arm(study: Study) -> str | None:
    """The arm that every other arm is worse than, by the verdicts of a comparison.

    The arm with the best mean is compared with each of the others as `compare_arms`
    compares arms with the base: at 5 % after Holm's correction. Baselines and the full
    softmax are not among the arms.
    """
    ranked = [a for a in rank_arms(study.table, study.metric) if _is_choice(study, a)]
    if len(ranked) < 2:
        return None
    best, *others = ranked
    to_best = dict.fromkeys(others, best)
    compared = compare_arms(
        study.pairing, [study.metric], to_best, study.margin, study.tuning.withheld
    )
    beaten = all(_word(row) == WORSE for row in compared.rows(named=True))
    return best if beaten else None


def _is_choice(study: Study, arm: str) -> bool:
    configs = [run.config for run in study.pairing.arms[arm].values()]
    return not all(is_baseline(one) or is_oracle(one) for one in configs)


def _base_is_best(
    study: Study, value: float, compared: dict[str, dict[str, Any]]
) -> str:
    """The sentence for a base arm that has the best mean."""
    text = f"No other choice has a better {study.metric} than {study.base}, {value:.4f}"
    level = [arm for arm, row in compared.items() if _word(row) not in (BETTER, WORSE)]
    if not level:
        return f"{text}; all are worse."
    return f"{text}; no verdict against it: {', '.join(level)}."


def _difference(row: dict[str, Any]) -> str:
    """A difference with its interval and verdict."""
    text = difference_text(row)
    word = row["verdict"]
    if not word:
        return text
    return (
        f"{text}, {word}"
        if _word(row) in (BETTER, EQUIVALENT)
        else f"{text}, verdict: {word}"
    )


def _word(row: dict[str, Any]) -> str:
    return (row["verdict"] or "").partition(" (")[0]
