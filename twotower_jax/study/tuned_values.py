"""Arms whose tuning chose other values than that of their control."""

from twotower_jax.study.load import Study
from twotower_jax.study.naming import flatten, short_key
from twotower_jax.study.verdicts import CANNOT_TELL

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
    """Return the tuned keys in which two arms differ, with both values."""
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
