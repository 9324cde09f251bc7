"""The options of the configuration: files of ``conf/`` that set several keys at once.

``data=movielens`` on the command line is the file ``conf/data/movielens.yaml``. In
Python a section that names the same choice, such as ``{"data": {"source":
"movielens"}}``, has the values of this file where it gives none.
"""

import copy
import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import yaml

from twotower_jax.config.root import FAMILIES
from twotower_jax.registry import load_installed

_GLOBAL = re.compile(r"#\s*@package\s+_global_")
_COMMENT = re.compile(r"#(?!\s*(?:@package|Command:))\s*(.*)")
_SENTENCE = re.compile(r".*?\.(?=\s|$)|.*")


class Option(NamedTuple):
    """One option of a group, such as ``half_hard`` of ``negatives``."""

    group: str
    name: str
    about: str  # the first sentence of its comment or docstring
    values: dict[str, Any]  # nested dictionaries below the root

    def value(self, key: str) -> Any:
        """Return the value of a dotted key; KeyError where the file does not set it."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, dict):
                raise KeyError(key)
            value = value[part]
        return value


@functools.cache
def _option_files() -> dict[tuple[str, str], Traversable]:
    """Return the file of every (group, name)."""
    files = {}
    folders: list[tuple[tuple[str, ...], Traversable]] = [
        ((), resources.files(f"twotower_jax.{name}")) for name in ("conf", "studies")
    ]
    while folders:
        parts, folder = folders.pop()
        depth = 2 if parts[:1] == ("hydra",) else 1
        for item in folder.iterdir():
            path = (*parts, item.name.removesuffix(".yaml"))
            if item.is_dir():
                folders.append((path, item))
            elif item.name.endswith(".yaml") and parts:  # config.yaml is in no group
                files["/".join(path[:depth]), "/".join(path[depth:])] = item
    return dict(sorted(files.items()))


def _read(group: str, name: str, file: Traversable) -> Option:
    text = file.read_text(encoding="utf-8")
    values = yaml.safe_load(text) or {}
    for default in values.pop("defaults", ()):
        for part, choice in default.items() if isinstance(default, dict) else ():
            if family := FAMILIES.get(f"{group}.{part}"):
                values.setdefault(part, {}).setdefault(family.tag, choice)
    if not _GLOBAL.match(text):
        values = _below(group, values)
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = [match[1] for line in head if (match := _COMMENT.fullmatch(line))]
    return Option(group, name, _sentence(" ".join(lines)), values)


def _below(group: str, values: dict[str, Any]) -> dict[str, Any]:
    for part in reversed(group.split("/")):
        values = {part: values}
    return values


def _sentence(text: str) -> str:
    match = _SENTENCE.match(" ".join(text.split()))
    return match[0] if match else ""


def option_names(group: str) -> list[str]:
    """Return the names of the options of a group, [] for an unknown group."""
    files = [name for of_group, name in _option_files() if of_group == group]
    return [*files, *family_of_group(group)]


def groups() -> list[str]:
    """Return the names of all groups."""
    return sorted(
        {group for group, _ in _option_files()} | {f.group for f in FAMILIES.values()}
    )


def family_of_group(group: str) -> Mapping[str, type]:
    """Return the choices of a group such as ``negatives/hard``, {} for another one."""
    section = group.replace("/", ".")
    if section in FAMILIES:
        load_installed()
    return FAMILIES.get(section, {})


@functools.cache
def all_options() -> tuple[Option, ...]:
    """Return every option of every group, in the order of their names."""
    load_installed()
    files = [_read(*names, file) for names, file in _option_files().items()]
    choices = [
        Option(
            family.group,
            name,
            _sentence(kind.__doc__ or ""),
            _below(family.group, dataclasses.asdict(kind())),
        )
        for family in FAMILIES.values()
        for name, kind in family.items()
    ]
    return tuple(sorted([*files, *choices], key=lambda option: option[:2]))


@functools.cache
def option_values(group: str, name: str) -> dict[str, Any]:
    """Return the values that an option gives its section, {} without such an option."""
    if kind := family_of_group(group).get(name):
        return dataclasses.asdict(kind())
    file = _option_files().get((group, name))
    return {} if file is None else _read(group, name, file).values[group]


def with_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with those of the option that ``data.source`` names."""
    data = values.get("data")
    name = data.get("source") if isinstance(data, Mapping) else None
    defaults = option_values("data", name) if isinstance(name, str) else {}
    # simulator_large is a file of data, and not a source.
    if not defaults or defaults["source"] != name:
        return dict(values)
    return dict(values) | {"data": _merged(defaults, data)}


def _merged(defaults: Any, given: Any) -> Any:
    """Return given values, completed by defaults down to the single key."""
    if not (isinstance(defaults, dict) and isinstance(given, Mapping)):
        return given
    whole = copy.deepcopy(defaults) | dict(given)
    for key in defaults.keys() & given.keys():
        whole[key] = _merged(defaults[key], given[key])
    return whole
