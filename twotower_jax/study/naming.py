"""How arms are called: by their label, else by the keys in which they differ.

An arm is a configuration without its seed, and without what says where it is kept.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

# Keys that say where a run is kept, what it is called and which seed it has.
NOT_DIFFERENCES = ("seed", "output", "name", "arm", "trackers")
# Keys that choose what a whole group does: they are called as the group is.
CHOICES = ("name", "kind", "strategy", "source")
# What says nothing without the group it belongs to: whole groups, and last parts.
KEPT_GROUPS = ("positives", "evaluation")
KEPT_PARTS = ("path", "ratio", "eps", "b1", "b2", "l2", "decay")
# Sections that 0 in one of their keys turns off: their other keys then say nothing.
SWITCHES = {
    "negatives.easy": "negatives.easy.num",
    "negatives.hard": "negatives.hard.num",
    "negatives.bank": "negatives.bank.size",
}


def flatten(config: dict[str, Any]) -> dict[str, str]:
    """Return {dotted key: value as text} of a config, without NOT_DIFFERENCES.

    Examples:
      >>> flatten({"seed": 3, "loss": {"name": "bpr", "logq": {"on": True}}})
      {'loss.name': 'bpr', 'loss.logq.on': 'true'}
    """
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
    """Return a text that equal configurations share, whatever their seed and label."""
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
    """Return the dotted keys whose values differ between configs, in their order."""
    flats = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for flat in flats for key in flat)
    return [key for key in keys if len({flat.get(key) for flat in flats}) > 1]


def short_key(key: str) -> str:
    """Return a dotted key without its group, or the group for what chooses in it.

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
    """Return the short key of each key, the whole one where that is ambiguous."""
    short = {key: short_key(key) for key in keys}
    taken = list(short.values())
    return {key: key if taken.count(word) > 1 else word for key, word in short.items()}


def label(config: dict[str, Any]) -> str:
    """Return the name given by the key `arm` on one line, or an empty text."""
    value = config.get("arm")
    return "" if value is None else _one_line(str(value))


def _one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    words = " ".join(text.split())
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words
    )


def name_arms(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Name the arm of each config by its `arm`, else by what differs between them.

    Configs that share a name without being equal get their differences appended,
    so that two arms are never merged into one.

    Examples:
      >>> name_arms([{"loss": {"temperature": t}, "seed": 0} for t in (0.1, 0.2)])
      ['temperature=0.1', 'temperature=0.2']
    """
    described = _describe(configs)
    names = [
        label(config) or text or "default"
        for config, text in zip(configs, described, strict=True)
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
    """Return `key=value ...` of the differences for each config.

    Unless `whole`, a config does not name the sections that it turns off, provided
    that more of the section than its switch differs.
    """
    keys = differing_keys(configs)
    short = _short_keys(keys)
    texts = []
    for flat in map(flatten, configs):
        idle = () if whole else _idle(keys, flat)
        told = [key for key in keys if not key.startswith(idle)] or keys
        words = (f"{short[key]}={flat.get(key, 'unset')}" for key in told)
        texts.append(_one_line(" ".join(words)))
    return texts


def _idle(keys: Sequence[str], flat: dict[str, str]) -> tuple[str, ...]:
    """Return the beginnings of the keys that say nothing of this config."""
    return tuple(
        f"{section}."
        for section, switch in SWITCHES.items()
        if switch in keys
        and flat.get(switch) == "0"
        and sum(key.startswith(f"{section}.") for key in keys) > 1
    )
