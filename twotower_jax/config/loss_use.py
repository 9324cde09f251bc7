"""Which keys of section ``loss`` each loss uses, and what each loss needs of others."""

import dataclasses
from typing import Any

from twotower_jax.errors import InputError

SOFTMAX = ("sampled_softmax", "full_softmax", "softmax_at_k")
# Losses of cosines, of which log q weighs the negatives.
COSINE = ("psl", "ccl", "dcl", "hcl")
OF_LOGITS = ("bce", "gbce", "hinge", "logistic", *SOFTMAX)
# Losses that use a key; a key that is not here is used by all of them.
USED_BY: dict[str, tuple[str, ...]] = {
    "loss.temperature": (*OF_LOGITS, "psl", "dcl", "hcl"),
    "loss.ratio": ("bce", "gbce"),
    "loss.margin": ("hinge", "ccl"),
    "loss.calibration": ("gbce",),
    "loss.offset": ("bce", "gbce"),
    "loss.decoupled": (*SOFTMAX, "psl"),
    "loss.negative_weight": (*SOFTMAX, "ccl"),
    "loss.activation": ("psl",),
    "loss.tau_plus": ("dcl", "hcl"),
    "loss.beta": ("hcl",),
    "loss.at_k": ("softmax_at_k",),
}
# A loss without rules: one that is registered from outside, or a misspelt name.
KNOWN = {*OF_LOGITS, *COSINE}


def check_unused(loss: Any) -> None:
    """Refuse a value of a key that the loss does not use.

    Args:
      loss: the section ``loss``.

    Raises:
      InputError: naming the key, its value, the losses that use it and its default.
    """
    if loss.name not in KNOWN:
        return
    for name, losses in USED_BY.items():
        if loss.name in losses:
            continue
        for key, value, default in _values(name, loss):
            if value != default:
                raise InputError(
                    f"{key}={_word(value)} has no use with loss.name={loss.name}; set "
                    f"{key}={_word(default)}, or a loss.name that uses it: "
                    f"{', '.join(losses)}"
                )


def _values(name: str, loss: Any) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value, default) of a key, or of each key of a section."""
    field = name.removeprefix("loss.")
    value = getattr(loss, field)
    if not dataclasses.is_dataclass(value):
        (default,) = (f.default for f in dataclasses.fields(loss) if f.name == field)
        return [(name, value, default)]
    return [
        (f"{name}.{item.name}", getattr(value, item.name), item.default)
        for item in dataclasses.fields(value)
    ]


def _word(value: Any) -> str:
    """Return a value as the command line writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_loss(config: Any) -> None:
    """Refuse a loss that does not fit towers, negatives or correction, and idle keys.

    Args:
      config: the whole configuration, with a known loss.

    Raises:
      InputError: naming the keys, their values and the remedy.
    """
    loss, name = config.loss, config.loss.name
    check_unused(loss)
    if not config.towers.normalize and (word := _needs_cosines(loss)):
        raise InputError(
            f"{word} needs cosines, which are bounded, but towers.normalize=false; set "
            "towers.normalize=true, or another loss"
        )
    if name in COSINE and loss.logq.correct == "all":
        raise InputError(
            f"loss.logq.correct=all corrects the logit of the positive, but loss.name="
            f"{name} is a function of its cosine; set loss.logq.correct=negatives, "
            "which weighs the negatives, or none"
        )
    if name == "softmax_at_k" and config.negatives.num_hard_negatives:
        raise InputError(
            f"negatives.num_hard_negatives={config.negatives.num_hard_negatives} "
            "cannot work with loss.name=softmax_at_k, which weighs the rows by their "
            "scores; set negatives.num_hard_negatives=0, or loss.name=sampled_softmax"
        )


def _needs_cosines(loss: Any) -> str | None:
    """Return the key, with its value, for which scores have to be bounded."""
    if loss.name in (*COSINE, "softmax_at_k"):
        return f"loss.name={loss.name}"
    if loss.name in SOFTMAX and loss.negative_weight != 1:
        return f"loss.negative_weight={loss.negative_weight}"
    return None
