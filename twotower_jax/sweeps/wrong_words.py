"""Errors of Hydra and OmegaConf as wrong input: the word, the reason and the remedy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from twotower_jax.config import known_keys
from twotower_jax.config.data import PATHS
from twotower_jax.errors import InputError, closest
from twotower_jax.sweeps.number import check_number, values_listed
from twotower_jax.sweeps.overrides import command_text, override

# Keys of files and folders, whose values need no quotes of Hydra's.
PLACES = ("output=", *(f"data.{name}=" for name in PATHS))
LISTS = "(twotower train --help lists keys and groups)"


@contextmanager
def explained(words: Sequence[str]) -> Iterator[None]:
    """Raise what Hydra and OmegaConf raise as wrong input.

    Args:
      words: the overrides of the command.

    Raises:
      InputError: instead of an error of composition.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
    except (AssertionError, ValueError) as error:
        if refused := _refused(str(error), words):
            raise InputError(refused) from None
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
    """Return the parsed words of a sweep.

    Args:
      words: overrides; a value may list several, by a comma, range or glob.

    Raises:
      InputError: for a key that lists no value, or for too many runs.
      HydraException: for a word that cannot be read.
    """
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


def explain(error: Exception) -> InputError:
    """Return a composition error of Hydra as wrong input, with the nearest known key.

    Args:
      error: a HydraException or OmegaConfBaseException.
    """
    if isinstance(error, MissingConfigException):
        return InputError(_missing_file(error))
    if isinstance(error, OverrideParseException):
        return InputError(_unreadable(error.override))
    key = getattr(error, "full_key", None)
    text = str(error).splitlines()[0]
    if text.startswith("Ambiguous value"):
        return InputError(_several(text.split("'", 1)[1].rstrip("'")))
    cause = error.__cause__
    while cause is not None:
        key = key or getattr(cause, "full_key", None)
        text = f"{text}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__
    key = key and key.split("[")[0]
    if key and key not in known_keys() and not key.startswith("hydra."):
        return unknown_key(key)
    if key:
        text = f"{key}: {text}"
    return InputError(f"{text} {LISTS}")


def unknown_key(key: str) -> InputError:
    """Return the error for a key that the configuration lacks.

    Args:
      key: dotted key.
    """
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


def _missing_file(error: MissingConfigException) -> str:
    """Return the message for a choice of a group that has no file."""
    text = str(error).split("Config search path")[0]
    text = " ".join(text.replace("In 'config': ", "").split())
    plugin = "hydra/launcher/" in text or "hydra/sweeper/" in text
    extra = "; others: pip install -c constraints.txt -e '.[sweep]'"
    return text + (extra if plugin else "")


def _refused(text: str, words: Sequence[str]) -> str:
    """Return the message for another error of Hydra; "" for an unknown error."""
    if "Config group override" in text:
        named = " ".join(word for word in words if "null" in word)
        return (
            f"{named}: a group of the configuration takes the name of a file, not "
            "null; leave the word out, or name one (twotower train --help lists them)"
        )
    if "Only one of" in text:
        return (
            "-m trains, and --cfg and --info only print; leave out -m to see the "
            "configuration of one run"
        )
    if "--resolve flag" in text:
        return (
            "--resolve prints the values of a configuration; add --cfg job, or leave "
            "it out to train"
        )
    if "Unexpected type for root" in text:
        swept = [word for word in words if word.startswith("hydra.")]
        named = " ".join(swept)
        return (
            f"{named}: adds to a section that is empty; a sweep takes its values as "
            "words, such as -m seed=0,1,2"
        )
    return ""
