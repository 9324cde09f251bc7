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
from twotower_jax.config.training import MeshConfig
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import (
    Choice,
    Choices,
    decides,
    default_of,
    load_installed,
    sections,
    to_dict,
)

type_hints = functools.cache(get_type_hints)


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored keys of a run with the schema's value for each key that they lack.

    A run that was written before a key existed did what the default of that key does.
    Keys of other choices are left out: earlier versions wrote those of all losses.
    """
    load_installed()
    return _filled(values, Config())


def _filled(values: Mapping[str, Any], section: Any) -> dict[str, Any]:
    if isinstance(section, Choice):
        kind = section.choices.get(str(values.get(section.choices.tag)))
        values = _own_keys(values, kind or type(section))
        section = kind() if kind else section
    whole = dict(values)
    for key, default in to_dict(section).items():
        part, given = getattr(section, key), whole.setdefault(key, default)
        if dataclasses.is_dataclass(part) and isinstance(given, Mapping):
            whole[key] = _filled(given, part)
    return whole


def _own_keys(values: Mapping[str, Any], kind: Any) -> Mapping[str, Any]:
    """Return stored keys without those that only other choices of a section have."""
    own, *others = (
        {item.name for item in dataclasses.fields(choice)}
        for choice in (kind, *kind.choices.values())
    )
    foreign = set().union(*others) - own
    kept = {key: value for key, value in values.items() if key not in foreign}
    for name in sections(kind):  # once a number, now a term of the loss
        if isinstance(weight := kept.get(name), int | float):
            kept[name] = {"weight": weight}
    return kept


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
    return section_of(Config, with_options(values))


def from_record(values: Mapping[str, Any]) -> Config:
    """Return the configuration that ``to_dict`` or the config.yaml of a run holds.

    Keys that the record of an earlier version lacks have the defaults of the schema.

    Examples:
      >>> from_record(to_dict(Config(seed=3))) == Config(seed=3)
      True
    """
    return section_of(Config, values, stored=True)


def section_of(
    kind: Any,
    values: Mapping[str, Any],
    prefix: str = "",
    base: Any = None,
    *,
    stored: bool = False,
) -> Any:
    """Return a dataclass of keys from their values, each in the type of its annotation.

    ``base`` is the section with the defaults of the choice that it belongs to; of
    ``stored`` values, those of other choices are left out.
    """
    hints, arguments = type_hints(kind), {}
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
                value = _own_keys(value, hint) if stored else value
            value = section_of(hint, value, f"{name}.", own, stored=stored)
        else:
            value = typed(name, value, hint)
        arguments[key] = value
    return kind(**arguments) if base is None else dataclasses.replace(base, **arguments)


EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "keys with values",
}


def typed(key: str, value: Any, hint: Any, tail: str = "") -> Any:
    """Return a value in the type of its annotation: lists as tuples, 1 as 1.0."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:  # X | None: the schema has no other union
        return None if value is None else typed(key, value, inner[0], " or null")
    if origin is tuple:
        value = tuple(value) if isinstance(value, list) else value
        _check(key, value, tuple, tail)
        parts = enumerate(value)
        return tuple(typed(f"{key}[{i}]", part, inner[0]) for i, part in parts)
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

    SHA-256 over all keys but ``LABELS``, which decide no number, and the devices, which
    decide its last digits: a run goes on with others. Of ``training.start_from`` it
    reads the last name, which is the hash of that run.

    Examples:
      >>> fingerprint(Config(arm="a label")) == fingerprint(Config())
      True
      >>> fingerprint(Config(seed=1)) == fingerprint(Config())
      False
    """
    values = to_dict(config)
    for key in LABELS:
        del values[key]
    training = values["training"]
    training |= {"devices": 1, "mesh": dataclasses.asdict(MeshConfig())}
    if parent := training["start_from"]:
        training["start_from"] = PurePath(parent).name
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def all_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored values of a run by dotted key, with defaults for missing keys."""
    return dict(leaves(with_defaults(config)))


def leaves(
    values: Mapping[str, Any], join: str = ".", prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of nested mappings; ``join`` is between their keys."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, join, f"{prefix}{key}{join}")
        else:
            yield f"{prefix}{key}", value


def idle_keys(config: Mapping[str, Any]) -> set[str]:
    """Return the dotted keys that decide no number, given the values of the others.

    They do not tell two runs apart: ``negatives.hard.pool`` where there are no hard
    negatives. Each declares so itself (``decides`` of `registry.key`).
    """
    values = all_values(config)
    idle = set()
    for key, item, owner, choice in walk():
        family = family_of(key)
        in_use = not (choice and family) or values.get(family.key) == choice
        if in_use and not decides(item, owner, values):
            idle.add(key)
    within = tuple(f"{key}." for key in idle)
    return {key for key in values if key in idle or key.startswith(within)}


def walk(
    kind: type = Config, prefix: str = "", choice: str = ""
) -> Iterator[tuple[str, dataclasses.Field[Any], type, str]]:
    """Yield (key, field, its dataclass, choice that has it) in the schema's order.

    Sections come before their keys, and keys of several choices with each of them.
    """
    inner = sections(kind)
    for item in dataclasses.fields(kind):
        key, section = f"{prefix}{item.name}", inner.get(item.name)
        yield key, item, kind, choice
        if section is not None and issubclass(section, Choice):
            load_installed()
            for name, part in section.choices.items():
                yield from walk(part, f"{key}.", name)
        elif section is not None:
            yield from walk(section, f"{key}.", choice)


def known_keys() -> list[str]:
    """Return every key in dotted form, sections included, in the order of the schema.

    Examples:
      >>> known_keys()[:4]
      ['name', 'output', 'arm', 'seed']
      >>> "loss.logq.correct" in known_keys()
      True
    """
    return list(dict.fromkeys(key for key, *_ in walk()))


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


def choices_with(key: str) -> list[str]:
    """Return the choices of a section that have a key, [] for another section."""
    return [choice for name, _, _, choice in walk() if name == key and choice]


def family_of(key: str) -> Choices[Any] | None:
    """Return the choices of the section of a dotted key, None without them."""
    return next(
        (f for section, f in FAMILIES.items() if key.startswith(f"{section}.")), None
    )
