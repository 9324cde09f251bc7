"""The answer of a study in a few sentences, which its report begins with."""

from typing import Any

import polars as pl

from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.comparison import compare_arms
from twotower_jax.study.load import Study
from twotower_jax.study.naming import is_baseline
from twotower_jax.study.tables import main_split, rank_arms, summary
from twotower_jax.study.trained import is_oracle
from twotower_jax.study.verdicts import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    WORSE,
    difference_text,
    interval,
)


def answer(study: Study) -> str:
    """The described answer of a study, else what to choose, by how much, and the rest.

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
    first = _first_sentences(study, best, values, compared.get(best))
    return " ".join([*first, *_others(study, best, compared)])


def _first_sentences(
    study: Study, best: str, values: dict[str, float], row: dict[str, Any] | None
) -> list[str]:
    """What to choose, and the difference that says so."""
    base, metric = study.base, study.metric
    if row is None:
        return [f"Keep {base}: no other choice has a better {metric}."]
    share = values[best] / values[base] - 1 if values[base] else 0.0
    where = "above" if row["difference"] > 0 else "below"
    by = f"{abs(share):.1%}".replace("%", " %") + f" {where} {base}"
    word, size = _word(row), f"The difference is {difference_text(row)}."
    if word == BETTER:
        return [f"Choose {best}: its {metric} is {by}.", size]
    if word == EQUIVALENT:
        return [f"{best} and {base} are equivalent in {metric}.", size]
    if word == CANNOT_TELL:
        start = f"No choice is shown to be better than {base}."
        return [f"{start} {best} has the best {metric}, {by}.", size]
    reason = f" ({row['verdict']})" if row["verdict"] else ""
    start = f"No verdict yet{reason}."
    return [f"{start} At these settings {best} has the best {metric}, {by}.", size]


def _others(study: Study, best: str, compared: dict[str, dict[str, Any]]) -> list[str]:
    """The other choices by what is shown of them: worse than the base, or unclear."""
    worse, unclear = [], []
    better = 1 if larger_is_better(study.metric) else -1
    for arm, row in compared.items():
        if arm == best or interval(row) == "-":
            continue
        ends = sorted((better * row["low_verdict"], better * row["high_verdict"]))
        if ends[1] < 0:
            worse.append(arm)
        elif ends[0] <= 0:
            unclear.append(arm)
    settled = all(_word(compared[arm]) == WORSE for arm in worse)
    lower = "Worse than" if settled else "At these settings worse than"
    return [
        f"{text} {study.base}: {', '.join(arms)}."
        for text, arms in ((lower, worse), ("Not told apart from", unclear))
        if arms
    ]


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


def _word(row: dict[str, Any]) -> str:
    return (row["verdict"] or "").partition(" (")[0]
