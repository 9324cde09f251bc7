"""Names of arms: the label, or else the keys in which the arms differ.

An arm is a configuration without its seed and without the keys that only decide where
and under which name a run is kept.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twotower_jax.config.convert import all_values, family_of, idle_keys
from twotower_jax.config.root import FAMILIES
from twotower_jax.model.towers import BASELINES
from twotower_jax.negatives.config import whole_catalogue

# Keys that set the place, the name and the seed of a run, not its arm.
NOT_DIFFERENCES = ("seed", "output", "name", "arm", "trackers", "baselines", "pause")
# Keys that choose the method of a whole group: they are named as the group is.
CHOICES = ("name", "kind", "strategy", "source")
# Names that are unclear without their group: whole groups, and last parts of keys.
KEPT_GROUPS = ("positives", "evaluation")
KEPT_PARTS = ("path", "ratio", "eps", "b1", "b2", "l2", "decay")
SECTIONS = tuple(f"{section}." for section in FAMILIES)
# Sections that 0 in one of their keys turns off: their other keys then have no effect.
SWITCHES = {
    "negatives.easy": "negatives.easy.num",
    "negatives.hard": "negatives.hard.num",
    "negatives.bank": "negatives.bank.size",
}


def flatten(config: dict[str, Any]) -> dict[str, str]:
    """The values of a configuration by dotted key, without NOT_DIFFERENCES."""
    flat: dict[str, str] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else str(key), inner)
        elif prefix and prefix not in NOT_DIFFERENCES:
            flat[prefix] = _show(value)

    visit("", config)
    return flat


def identity(config: dict[str, Any]) -> str:
    """A text that is equal for configurations which differ in seed and label alone."""
    return json.dumps(sorted(flatten(config).items()))


def _show(value: Any) -> str:
    """Return a value as it would be written on the command line."""
    if isinstance(value, str):
        word = re.fullmatch(r"[A-Za-z_][\w./@+:-]*", value)
        reserved = value.lower() in ("true", "false", "null", "unset")
        return value if word and not reserved else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_show(inner) for inner in value) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # 1 and 1.0 are the same choice
    return json.dumps(value, default=str)


def differing_keys(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The dotted keys whose values differ between configurations, in their order."""
    flats = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for flat in flats for key in flat)
    return [key for key in keys if len({flat.get(key) for flat in flats}) > 1]


def short_key(key: str) -> str:
    """A short name of a dotted key: without its group, or the group alone.

    Examples:
      >>> [short_key(key) for key in ("loss.name", "loss.logq.correct", "loss.ratio")]
      ['loss', 'logq.correct', 'loss.ratio']
    """
    group, _, rest = key.partition(".")
    if rest in CHOICES:
        return group
    kept = not rest or group in KEPT_GROUPS or rest in KEPT_PARTS
    return key if kept else rest


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The short key of each key, the whole one where that is ambiguous."""
    short = {key: short_key(key) for key in keys}
    taken = list(short.values())
    return {key: key if taken.count(word) > 1 else word for key, word in short.items()}


def label(config: dict[str, Any]) -> str:
    """The name given by the key `arm` on one line, or an empty text."""
    value = config.get("arm")
    return "" if value is None else _one_line(str(value))


def _one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    words = " ".join(text.split())
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words
    )


def is_baseline(config: Mapping[str, Any]) -> bool:
    """Whether the model of a configuration is one of the baselines."""
    towers = config.get("towers")
    return isinstance(towers, dict) and towers.get("kind") in BASELINES


def is_oracle(config: Mapping[str, Any]) -> bool:
    """Whether a configuration trains on the whole catalogue."""
    return whole_catalogue(all_values(config))


def trained_arms(configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arms that are choices of samples: neither baselines nor the full softmax.

    The full softmax differs from any sampled loss in one choice, whatever its samples,
    so it is a reference and no control.
    """
    return {
        arm: config
        for arm, config in configs.items()
        if not is_baseline(config) and not is_oracle(config)
    }


def name_arms(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The name of each configuration's arm: its label, or else its differing keys.

    Configurations that share a name without being equal get their differences
    appended, so that two arms are never merged into one.
    """
    # The label is the whole name of a baseline: the axes of the arms do not apply.
    crossed = [
        i for i, one in enumerate(configs) if not (label(one) and is_baseline(one))
    ]
    texts = _describe([configs[i] for i in crossed])
    described = dict(zip(crossed, texts, strict=True))
    names = [
        label(config) or described.get(index) or "default"
        for index, config in enumerate(configs)
    ]
    for whole in (False, True):
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            groups.setdefault(name, []).append(index)
        for members in groups.values():
            texts = _describe([configs[index] for index in members], whole)
            for index, text in zip(members, texts, strict=True):
                names[index] = f"{names[index]} {text}".strip()
    return names


def _describe(configs: Sequence[dict[str, Any]], whole: bool = False) -> list[str]:
    """Return `key=value ...` of the differences for each configuration.

    Unless `whole`, the text leaves out keys without effect in the configuration, and
    the sections that it turns off, if more of the section than its switch differs.
    """
    keys = [key for key in differing_keys(configs) if not _of_choice(key, configs)]
    short = _short_keys(keys)
    texts = []
    for config in configs:
        flat, idle = flatten(config), set() if whole else idle_keys(config)
        off = () if whole else _off(keys, flat)
        idle |= {key for key in keys if key not in flat and key.startswith(SECTIONS)}
        used = [key for key in keys if key not in idle and not key.startswith(off)]
        named = used or keys
        words = (f"{short[key]}={flat.get(key, 'unset')}" for key in named)
        texts.append(_one_line(" ".join(words)))
    return texts


def _of_choice(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    """Whether the value of a key follows from the choice of its section.

    The choice is named, and brings the value or the lack of it.
    """
    family = family_of(key)
    if family is None or family.common or key == family.key:
        return False
    values: dict[str | None, set[str | None]] = {}
    for flat in map(flatten, configs):
        values.setdefault(flat.get(family.key), set()).add(flat.get(key))
    return len(values) > 1 and all(len(found) == 1 for found in values.values())


def _off(keys: Sequence[str], flat: dict[str, str]) -> tuple[str, ...]:
    """Return the prefixes of the sections that this configuration turns off."""
    return tuple(
        f"{section}."
        for section, switch in SWITCHES.items()
        if switch in keys
        and flat.get(switch) == "0"
        and sum(key.startswith(f"{section}.") for key in keys) > 1
    )
