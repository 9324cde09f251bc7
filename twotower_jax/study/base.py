"""The base arm of a study: the arm to which the others are compared."""

from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from twotower_jax.errors import InputError, closest
from twotower_jax.study.controls import Contrast, contrast
from twotower_jax.study.naming import (
    differing_keys,
    flatten,
    is_baseline,
    trained_arms,
)

IN_BATCH_LOGQ = "in-batch + logQ"
# Sections of the configuration that choose samples and loss: their defaults are
# in-batch negatives with logQ on every logit.
SAMPLES = ("positives", "negatives")
LOSS = ("name", "logq")


class Base(NamedTuple):
    """The base arm and the rule that chose it."""

    arm: str  # its name; "" where no rule chooses one
    rule: str  # why it is the base arm, or why there is none; a clause

    @property
    def sentence(self) -> str:
        """The sentence for the report; "" for a study of one arm."""
        if not self.rule:
            return ""
        return f"The base arm is {self.arm}: {self.rule}." if self.arm else self.rule


def choose_base(
    configs: Mapping[str, dict[str, Any]],
    requested: str | None = None,
    recorded: str | None = None,
) -> Base:
    """The requested base arm, the recorded one, or the one nearest to in-batch + logQ.

    In-batch + logQ is a configuration, not a title: the batch gives the negatives, log
    q corrects every logit of a sampled softmax, positives are as in the log. Of the
    trained arms the base is the one with the fewest choices against this; of several,
    the one nearest to the defaults of all keys. Of arms that are equally near and
    differ in one number, it is that with the lowest; of others none is the base.
    """
    if requested is not None:
        _check_known(requested, configs)
    named = requested if requested is not None else recorded
    if named is not None and named in configs:
        return Base(named, "the study names it")
    if len(configs) < 2:
        return Base(next(iter(configs), ""), "")
    trained = trained_arms(configs)
    arms = trained or {a: c for a, c in configs.items() if not is_baseline(c)}
    if not arms:
        return Base("", _ask(configs))
    apart = {arm: _apart(config) for arm, config in arms.items()}
    near = _least({arm: apart[arm][:2] for arm in arms})
    if len(near) > 1:
        near = _least({arm: contrast(arms[arm], {})[:2] for arm in near})
    if len(near) > 1:
        if key := number_apart([configs[arm] for arm in near]):
            lowest = min(near, key=lambda arm: float(flatten(configs[arm])[key]))
            return Base(lowest, f"it has the lowest {key}")
        return Base("", _ask(near))
    (arm,) = near
    if not apart[arm].choices:
        return Base(arm, f"its samples and loss are {IN_BATCH_LOGQ}")
    return Base(arm, f"it is nearest to {IN_BATCH_LOGQ} ({apart[arm].text})")


def number_apart(configs: Sequence[dict[str, Any]]) -> str:
    """The one key in which configurations differ, if it has numbers; else ""."""
    keys, flats = differing_keys(configs), map(flatten, configs)
    if len(keys) != 1:
        return ""
    try:
        return keys[0] if [float(flat[keys[0]]) for flat in flats] else ""
    except (KeyError, ValueError):
        return ""


def _apart(config: Mapping[str, Any]) -> Contrast:
    """The contrast of an arm with itself on in-batch + logQ."""
    loss = config.get("loss")
    kept = {k: v for k, v in loss.items() if k not in LOSS} if loss else {}
    rest = {k: v for k, v in config.items() if k not in (*SAMPLES, "loss")}
    return contrast(config, {**rest, "loss": kept})


def _least(distances: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The arms of the smallest distance."""
    least = min(distances.values())
    return [arm for arm, distance in distances.items() if distance == least]


def _ask(arms: Collection[str]) -> str:
    return (
        f"No base arm: none of {', '.join(sorted(arms))} is nearest to "
        f"{IN_BATCH_LOGQ}. Name one by hydra.callbacks.study.base=ARM, or twotower "
        "report DIR --base ARM."
    )


def _check_known(requested: str, configs: Mapping[str, Any]) -> None:
    """Refuse an unknown arm; the nearest is listed first: a study can have many."""
    if requested in configs:
        return
    near = closest(requested, sorted(configs))
    listed = sorted(
        sorted(configs),
        key=lambda arm: -SequenceMatcher(None, requested, arm).ratio(),
    )
    raise InputError(
        f"the base arm {requested!r} has no finished run in this study"
        + (f" ({near})" if near else "")
        + f"; choose one of {', '.join(map(repr, listed))}: twotower report DIR "
        "--base ARM"
    )
