"""Errors of Hydra and OmegaConf as wrong input: the word, the reason and the remedy."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from twotower_jax.config import known_keys
from twotower_jax.config.convert import choices_with, family_of
from twotower_jax.config.data import PATHS
from twotower_jax.config.root import FAMILIES
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import Choices
from twotower_jax.sweeps.missing_choice import missing_choice
from twotower_jax.sweeps.number import check_number, values_listed
from twotower_jax.sweeps.overrides import command_text, override
from twotower_jax.sweeps.refused import long_word, refused

# Keys of files and folders, whose values need no quotes of Hydra's.
PLACES = ("output=", *(f"data.{name}=" for name in PATHS))
LISTS = "(twotower train --help lists keys and groups)"


@contextmanager
def explained(words: Sequence[str]) -> Iterator[None]:
    """Raise what Hydra and OmegaConf raise as wrong input."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, words) from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"a file of the configuration is broken: {reason}") from None
    except OSError as error:
        if (long := long_word(error, words)) is not None:
            raise long from None
        raise
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        if message := refused(error, words):
            raise InputError(message) from None
        raise


def quote_places(words: Sequence[str]) -> list[str]:
    """Return overrides with quotes around paths that Hydra cannot read as they are.

    Examples:
      >>> quote_places(["data.path=~/logs/ü.csv", "output=runs", "seed=1"])
      ["data.path='~/logs/ü.csv'", 'output=runs', 'seed=1']
    """
    return [_quoted(word) if word.startswith(PLACES) else word for word in words]


def _quoted(word: str) -> str:
    try:
        OverridesParser.create().parse_overrides([word])
    except HydraException:
        key, _, value = word.partition("=")
        return override(key, value)
    return word


def parse_sweep(words: Sequence[str]) -> list[Override]:
    """Return the parsed words of a sweep."""
    # glob(*) lists the files of a group, which the loader knows.
    loader: Any = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    check_number(parsed)
    for one in parsed:
        if values_listed(one) == 0:
            raise InputError(
                f"{one.input_line} lists no value, so that no run is left; give "
                f"values, such as {one.key_or_group}=0,1"
            )
    return parsed


def explain(error: Exception, words: Sequence[str]) -> InputError:
    """A composition error of Hydra as wrong input, with the nearest known key."""
    if isinstance(error, MissingConfigException):
        return InputError(missing_choice(error))
    if isinstance(error, OverrideParseException):
        return InputError(_unreadable(error.override))
    key = getattr(error, "full_key", None)
    text, *rest = str(error).splitlines()
    if text.endswith("raised while composing config:") and rest:
        return InputError(_bad_file(text, rest[0], words))
    if isinstance(error, InterpolationResolutionError) and (named := _refer(words)):
        own = [word for word in named if word.startswith(f"{key}=")]
        return InputError(_unresolved(own or named, text))
    if text.startswith("Ambiguous value"):
        return InputError(_several(text.split("'", 1)[1].rstrip("'")))
    if key == "tags":  # of a list of values within another
        return InputError(_lists_within(words))
    cause = error.__cause__
    while cause is not None:
        key = key or getattr(cause, "full_key", None)
        text = f"{text}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__
    key = key and key.split("[")[0]
    if key and key not in known_keys() and not key.startswith("hydra."):
        return unknown_key(key)
    if key and " not in '" in text and (choices := choices_with(key)):
        family = cast(Choices[Any], family_of(key))
        return InputError(
            f"{key} is a key of {family.group}={', '.join(choices)} and not of the "
            f"choice that is made; set one of them, or leave {key} out"
        )
    below = [one for one in known_keys() if one.startswith(f"{key}.")]
    if below and "is not a subclass of" in text:
        return InputError(f"{key} has keys of its own; set one, such as {below[0]}=")
    if key:
        text = f"{key}: {text}"
    return InputError(f"{text} {LISTS}")


def _lists_within(words: Sequence[str]) -> str:
    """Return the message for words with a range or a choice among their values."""
    named = [one for one in words if re.search(r"(range|choice)\(.*\),|,.*\(", one)]
    return (
        f"{' '.join(named or words)} lists a range or a choice among other values; "
        "give each value, such as seed=0,1,2"
    )


def _bad_file(text: str, cause: str, words: Sequence[str]) -> str:
    """Return the message for a file of the configuration that does not compose."""
    name = text.split("'")[1] if "'" in text else ""
    named = [word for word in words if _chooses(word, name)]
    where = f"{' '.join(named)}: " if named else ""
    if match := re.match(r"Key '(\w+)' not in '", cause):
        for section, family in FAMILIES.items():
            if having := choices_with(f"{section}.{match[1]}"):
                cause += (
                    f" ({section}.{match[1]} is a key of {family.group}="
                    f"{', '.join(having)}: choose it by override /{family.group} in "
                    "the defaults of the file)"
                )
    return (
        f"{where}{text} {cause}; correct that file (its keys, and a first line such "
        "as # @package _global_), or the word that names it"
    )


def _chooses(word: str, file: str) -> bool:
    """Return whether a word chooses a file of a group, such as arms/uniform."""
    key, _, value = word.partition("=")
    group = key.lstrip("+~").partition("@")[0]
    return any(f"{group}/{one}" == file for one in value.split(","))


def _refer(words: Sequence[str]) -> list[str]:
    """Return the words with a reference such as ${seed}, which a sweep has escaped."""
    plain = (re.sub(r"\\(?=[{}:])", "", word) for word in words)
    return [word for word in plain if "${" in word]


def _unresolved(words: Sequence[str], text: str) -> str:
    """Return the message for words with a reference that has no value."""
    cause = text.split('interpolation: "')[-1].rstrip('"')
    return (
        f"{' '.join(words)} has no value: {cause}; write the value itself, or a "
        "reference to a key or a variable that has one"
    )


def unknown_key(key: str) -> InputError:
    """Return the error for a key that the configuration lacks."""
    near = closest(key, known_keys()) or "twotower train --help lists all keys"
    return InputError(f"unknown key {key}; {near}")


def _in_quotes(word: str) -> str:
    """Return an override for a shell, its value in quotes for Hydra."""
    key, equals, value = word.partition("=")
    inner = value.replace("'", r"\'")
    return command_text([f"{key}{equals}'{inner}'"])


def _unreadable(word: str) -> str:
    """Return the message for a word that Hydra cannot parse as key=value."""
    if "=" not in word:
        return f"{word} sets no key; write key=value {LISTS}"
    return (
        f"{word} cannot be read: a value with brackets, quotes, ~, or letters other "
        f"than a to z takes quotes of its own: {_in_quotes(word)}"
    )


def _several(word: str) -> str:
    """Return the message for several values of a key without -m."""
    return (
        f"{word} has several values: -m runs each of them; a value with a comma takes "
        f"quotes of its own: {_in_quotes(word)}"
    )
