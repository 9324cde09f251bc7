"""Configurations as dictionaries, their hash and their keys."""

import dataclasses
import functools
import hashlib
import json
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from twotower_jax.config.options import with_options
from twotower_jax.config.root import FAMILIES, LABELS, Config
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import (
    Choice,
    Choices,
    decides,
    default_of,
    load_installed,
    sections,
)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries of plain values.

    Examples:
      >>> to_dict(Config())["evaluation"]["k"]
      [10, 20, 50, 100]
    """
    return json.loads(json.dumps(dataclasses.asdict(config)))


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored keys of a run with the schema's value for each key that they lack.

    A run that was written before a key existed did what the default of that key does.
    Keys of other choices than those of the run are left out: earlier versions wrote
    the keys of all losses, of which one alone had a use.

    Examples:
      >>> loss = with_defaults({"loss": {"temperature": 0.1, "margin": 0.2}})["loss"]
      >>> loss["temperature"], loss["logq"]["strength"], "margin" in loss
      (0.1, 1.0, False)
    """
    values, defaults = of_own_choices(values), _defaults(Config)
    for section, family in FAMILIES.items():
        kind = family.get(str(_at(values, family.key)))
        if kind is not None:
            defaults = _replaced(defaults, section, _defaults(kind))
    return _filled(values, defaults)


def _at(values: Any, key: str) -> Any:
    """Return the value of a dotted key, or section; None without it."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _replaced(values: Mapping[str, Any], section: str, part: Any) -> dict[str, Any]:
    """Return values with another part at a dotted section that they have."""
    head, _, rest = section.partition(".")
    return {**values, head: _replaced(values[head], rest, part) if rest else part}


@functools.cache
def _defaults(kind: type) -> dict[str, Any]:
    return to_dict(kind())


def of_own_choices(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored keys without those that only other choices of a section have."""
    load_installed()
    whole = dict(values)
    for section, family in FAMILIES.items():
        given = _at(whole, section)
        if not isinstance(given, dict):
            continue
        kind = family.get(given.get(family.tag, ""), type(_at_config(section)))
        own = {item.name for item in dataclasses.fields(kind)}
        others = {
            i.name for other in family.values() for i in dataclasses.fields(other)
        }
        part = {k: v for k, v in given.items() if k in own or k not in others}
        for name in sections(kind):  # once a number, now a term of the loss
            if isinstance(weight := part.get(name), int | float):
                part[name] = {"weight": weight}
        whole = _replaced(whole, section, part)
    return whole


def _at_config(section: str) -> Any:
    """Return a section of the configuration with all defaults."""
    return functools.reduce(getattr, section.split("."), Config())


def _filled(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values and the defaults of other keys, section by section."""
    stored = {
        key: _filled(value, defaults[key])
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
        else value
        for key, value in values.items()
    }
    return stored | {key: defaults[key] for key in defaults if key not in stored}


def from_dict(values: Mapping[str, Any]) -> Config:
    """Return the configuration of nested dictionaries, as a user writes them.

    Keys that are left out have the defaults of the command line: a section that names
    its option, such as ``{"data": {"source": "movielens"}}``, has the values of that
    option (``data=movielens``), and all other keys have those of the schema.

    Examples:
      >>> from_dict({"loss": {"temperature": 0.1}}).loss.temperature
      0.1
      >>> from_dict({"data": {"source": "movielens", "path": "ml-1m"}}).data.split
      'ratio'
      >>> from_dict({"loss": {"temprature": 0.1}})
      Traceback (most recent call last):
        ...
      InputError: unknown key loss.temprature; did you mean loss.temperature?
    """
    return _section(with_options(values), Config, "")


def from_record(values: Mapping[str, Any]) -> Config:
    """Return the configuration that ``to_dict`` or the config.yaml of a run holds.

    Keys that the record of an earlier version lacks have the defaults of the schema.

    Examples:
      >>> from_record(to_dict(Config(seed=3))) == Config(seed=3)
      True
    """
    return _section(of_own_choices(values), Config, "")


def _section(
    values: Mapping[str, Any], kind: Any, prefix: str, base: Any = None
) -> Any:
    """Return a dataclass of the configuration from its keys.

    Args:
      base: the section with the defaults of the choice that it belongs to, or None.
    """
    hints, arguments = get_type_hints(kind), {}
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise unknown_key(f"{prefix}{key}")
        hint, name, own = hints[key], f"{prefix}{key}", None
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            _check(name, value, dict)
            own = default_of(fields[key]) if base is None else getattr(base, key)
            if issubclass(hint, Choice):
                hint, own = hint.choices.of(value, type(own)), None
            arguments[key] = _section(value, hint, f"{name}.", own)
        else:
            arguments[key] = _typed(name, value, hint)
    return kind(**arguments) if base is None else dataclasses.replace(base, **arguments)


EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "keys with values",
}


def _typed(key: str, value: Any, hint: Any, tail: str = "") -> Any:
    """Return a value in the type of its annotation: lists as tuples, 1 as 1.0."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:  # X | None: the schema has no other union
        return None if value is None else _typed(key, value, inner[0], " or null")
    if origin is tuple:
        value = tuple(value) if isinstance(value, list) else value
        _check(key, value, tuple, tail)
        parts = enumerate(value)
        return tuple(_typed(f"{key}[{i}]", part, inner[0]) for i, part in parts)
    if origin is dict:
        _check(key, value, dict, tail)
        for name, part in value.items():
            _check(f"{key}.{name}", name, inner[0], " as its name")
            _check(f"{key}.{name}", part, inner[1])
        return dict(value)
    if hint is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    _check(key, value, hint, tail)
    return value


def _check(key: str, value: Any, kind: Any, tail: str = "") -> None:
    """Raise InputError unless the value is of the kind; a bool is not a number."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return
    expected = EXPECTED[kind] + tail
    if kind is float and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE]\S+", str(value)):
        expected += ", in YAML with a dot and a sign as in 1.0e-7"
    raise InputError(f"{key}={reprlib.repr(value)} has the wrong type; give {expected}")


def fingerprint(config: Config) -> str:
    """Return the hash of a configuration, which names the folder of its run.

    SHA-256 over all keys but ``LABELS``, which decide no number. Of
    ``training.start_from`` it reads the last name, which is the hash of that run.

    Examples:
      >>> fingerprint(Config(arm="a label")) == fingerprint(Config())
      True
      >>> fingerprint(Config(seed=1)) == fingerprint(Config())
      False
    """
    values = to_dict(config)
    for key in LABELS:
        del values[key]
    if parent := values["training"]["start_from"]:
        values["training"]["start_from"] = PurePath(parent).name
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def all_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration by dotted key, with defaults for missing keys.

    Examples:
      >>> all_values({"loss": {"name": "bce"}})["loss.name"]
      'bce'
      >>> all_values({})["training.steps"] is None
      True
    """
    return _flat(with_defaults(config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def idle_keys(config: Mapping[str, Any]) -> set[str]:
    """The dotted keys of a configuration that decide no number, given the others.

    They do not tell two runs apart: ``negatives.hard.pool`` where there are no hard
    negatives, ``training.epochs`` where ``training.steps`` is set. Each declares so
    itself (``decides`` of `registry.key`).

    Examples:
      >>> idle = idle_keys({"negatives": {"hard": {"num": 0, "pool": "user"}}})
      >>> "negatives.hard.pool" in idle, "negatives.hard.num" in idle
      (True, False)
    """
    values = all_values(config)
    idle = tuple(_idle(Config, values))
    sections = tuple(f"{key}." for key in idle)
    return {key for key in values if key in idle or key.startswith(sections)}


def _idle(kind: type, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys, and sections, of a dataclass that decide no number."""
    inner = sections(kind)
    for item in dataclasses.fields(kind):
        key = f"{prefix}{item.name}"
        if not decides(item, values):
            yield key
        elif part := inner.get(item.name):
            if issubclass(part, Choice):
                name = values.get(part.choices.key)
                part = part.choices.get(name, type(default_of(item)))
            yield from _idle(part, values, f"{key}.")


def known_keys(kind: type = Config, prefix: str = "") -> list[str]:
    """Return every key in dotted form, sections included, in the order of the schema.

    Examples:
      >>> known_keys()[:4]
      ['name', 'output', 'arm', 'seed']
      >>> "loss.logq.correct" in known_keys()
      True
    """
    inner, keys = sections(kind), []
    for item in dataclasses.fields(kind):
        keys.append(prefix + item.name)
        for part in kinds(inner.get(item.name)):
            keys += known_keys(part, f"{prefix}{item.name}.")
    return list(dict.fromkeys(keys))


def unknown_key(key: str, others: Iterable[str] = ()) -> InputError:
    """Return the error for a key that the configuration, or the choice made, lacks."""
    family = family_of(key)
    if family is not None and (choices := choices_with(key)):
        return InputError(
            f"{key} is a key of {family.group}={', '.join(choices)} and not of the "
            f"choice that is made; set one of them, or leave {key} out"
        )
    near = closest(key, [*known_keys(), *others])
    return InputError(
        f"unknown key {key}; {near or 'twotower train --help lists all keys'}"
    )


def kinds(section: type | None) -> list[type]:
    """Return the dataclasses that a section may be: its own, or all of its choices."""
    if section is None:
        return []
    if issubclass(section, Choice):
        load_installed()
        return list(section.choices.values())
    return [section]


def choices_with(key: str) -> list[str]:
    """Return the choices of a section that have a key, [] for another section.

    Examples:
      >>> choices_with("loss.margin"), choices_with("data.split")
      (['ccl', 'hinge'], [])
    """
    load_installed()
    family = family_of(key)
    if family is None:
        return []
    rest = key.removeprefix(f"{family.section}.")
    return [name for name, kind in family.items() if rest in known_keys(kind)]


def family_of(key: str) -> Choices[Any] | None:
    """Return the choices of the section that a dotted key lies in, None without them.

    Examples:
      >>> family_of("negatives.hard.stages").key, family_of("negatives.mask")
      ('negatives.hard.source', None)
    """
    return next(
        (f for section, f in FAMILIES.items() if key.startswith(f"{section}.")), None
    )
