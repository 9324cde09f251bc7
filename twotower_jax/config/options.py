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
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import yaml

from twotower_jax.config.root import FAMILIES
from twotower_jax.registry import load_installed

# Sections whose key holds the name of their option.
NAMED = {"data": "source"}
_GLOBAL = re.compile(r"#\s*@package\s+_global_")
_COMMENT = re.compile(r"#(?!\s*(?:@package|Command:))\s*(.*)")
_SENTENCE = re.compile(r".*?\.(?=\s|$)|.*")


class Option(NamedTuple):
    """One option of a group.

    Attributes:
      group: the group, such as ``negatives`` or ``hydra/sweeper``.
      name: the option, such as ``half_hard`` or ``plain/easy``.
      about: the first sentence of the comment that begins its file; "" without one.
      values: {key: value} of its file, as nested dictionaries below the root.
    """

    group: str
    name: str
    about: str
    values: dict[str, Any]

    def value(self, key: str) -> Any:
        """Return the value of a dotted key; KeyError where the file does not set it.

        Examples:
          >>> Option("loss", "bce", "", {"loss": {"ratio": 3.0}}).value("loss.ratio")
          3.0
        """
        place: Any = self.values
        for part in key.split("."):
            if not isinstance(place, dict):
                raise KeyError(key)
            place = place[part]
        return place


def _folder() -> Traversable:
    return resources.files("twotower_jax.conf")


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Yield (path without its ending, file) of the option files of a folder."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield prefix + item.name.removesuffix(".yaml"), item


def _read(group: str, name: str, file: Traversable) -> Option:
    text = file.read_text(encoding="utf-8")
    values = yaml.safe_load(text) or {}
    for default in values.pop("defaults", ()):
        for part, choice in default.items() if isinstance(default, dict) else ():
            if family := FAMILIES.get(f"{group}.{part}"):
                values.setdefault(part, {}).setdefault(family.tag, choice)
    if not _GLOBAL.match(text):
        values = _below(group, values)
    return Option(group, name, _about(text), values)


def _below(group: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return values as nested dictionaries below the root."""
    for part in reversed(group.split("/")):
        values = {part: values}
    return values


def _about(text: str) -> str:
    """Return the first sentence of the comment that begins a file."""
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = [match[1] for line in head if (match := _COMMENT.fullmatch(line))]
    sentence = _SENTENCE.match(" ".join(lines))
    return sentence[0] if sentence else ""


@functools.cache
def _option_files() -> dict[tuple[str, str], Traversable]:
    """Return the file of every (group, name)."""
    found = {}
    for path, file in _files(_folder()):
        parts = path.split("/")
        depth = 2 if parts[0] == "hydra" else 1
        if len(parts) > depth:  # config.yaml is not in a group
            found["/".join(parts[:depth]), "/".join(parts[depth:])] = file
    return found


def option_names(group: str) -> list[str]:
    """Return the names of the options of a group, [] for an unknown group.

    Examples:
      >>> option_names("optimizer")
      ['adagrad', 'adam', 'adam_dense', 'sgd']
    """
    files = [name for one, name in _option_files() if one == group]
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
            _sentence(kind),
            _below(family.group, dataclasses.asdict(kind())),
        )
        for family in FAMILIES.values()
        for name, kind in family.items()
    ]
    return tuple(sorted([*files, *choices], key=lambda option: option[:2]))


def _sentence(kind: type) -> str:
    """Return the first sentence of a docstring."""
    words = " ".join((kind.__doc__ or "").split())
    match = _SENTENCE.match(words)
    return match[0] if match else ""


def start_values() -> dict[str, Any]:
    """Return the values of ``conf/config.yaml``, with which every command starts."""
    return yaml.safe_load((_folder() / "config.yaml").read_text(encoding="utf-8"))


@functools.cache
def option_values(group: str, name: str) -> dict[str, Any]:
    """Return the values that an option gives its section, {} without such an option.

    Examples:
      >>> option_values("data", "movielens")["split"]
      'ratio'
      >>> option_values("data", "none of these")
      {}
    """
    if kind := family_of_group(group).get(name):
        return dataclasses.asdict(kind())
    file = _option_files().get((group, name))
    return {} if file is None else _read(group, name, file).values[group]


def with_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with those of the options that their sections name.

    Examples:
      >>> movielens = {"source": "movielens"}
      >>> with_options({"data": movielens})["data"]["split"]
      'ratio'
      >>> with_options({"data": movielens | {"split": "given"}})["data"]["split"]
      'given'
    """
    filled = dict(values)
    for section, key in NAMED.items():
        given = values.get(section)
        name = given.get(key) if isinstance(given, Mapping) else None
        if not isinstance(name, str):
            continue
        defaults = option_values(section, name)
        # simulator_large is a file of data, and not a source.
        if defaults.get(key) == name:
            filled[section] = _merged(defaults, given)
    return filled


def _merged(defaults: Any, given: Any) -> Any:
    """Return given values, completed by defaults down to the single key."""
    if not (isinstance(defaults, dict) and isinstance(given, Mapping)):
        return given
    whole = copy.deepcopy(defaults) | dict(given)
    for key in defaults.keys() & given.keys():
        whole[key] = _merged(defaults[key], given[key])
    return whole
