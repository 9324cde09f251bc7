"""Errors of Hydra and OmegaConf as wrong input: the word, the reason and the remedy."""

import errno
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, cast

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from twotower_jax.config import known_keys
from twotower_jax.config.convert import choices_with, family_of
from twotower_jax.config.data import PATHS
from twotower_jax.config.options import option_names
from twotower_jax.config.root import FAMILIES
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import Choices
from twotower_jax.sweeps.overrides import command_text, override

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
    for word in parsed:
        if values_listed(word) == 0:
            raise InputError(
                f"{word.input_line} lists no value, so that no run is left; give "
                f"values, such as {word.key_or_group}=0,1"
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
        cause = text.split('interpolation: "')[-1].rstrip('"')
        return InputError(
            f"{' '.join(own or named)} has no value: {cause}; write the value itself, "
            "or a reference to a key or a variable that has one"
        )
    if text.startswith("Ambiguous value"):
        word = text.split("'", 1)[1].rstrip("'")
        return InputError(
            f"{word} has several values: -m runs each of them; a value with a comma "
            f"takes quotes of its own: {_in_quotes(word)}"
        )
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
    below = [name for name in known_keys() if name.startswith(f"{key}.")]
    if below and "is not a subclass of" in text:
        return InputError(f"{key} has keys of its own; set one, such as {below[0]}=")
    if key:
        text = f"{key}: {text}"
    return InputError(f"{text} {LISTS}")


def _lists_within(words: Sequence[str]) -> str:
    """Return the message for words with a range or a choice among their values."""
    named = [word for word in words if re.search(r"(range|choice)\(.*\),|,.*\(", word)]
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
    return any(f"{group}/{name}" == file for name in value.split(","))


def _refer(words: Sequence[str]) -> list[str]:
    """Return the words with a reference such as ${seed}, which a sweep has escaped."""
    plain = (re.sub(r"\\(?=[{}:])", "", word) for word in words)
    return [word for word in plain if "${" in word]


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


# --- choices without a file, and errors of Python that name no word -----------------

COMPLETION = (
    "-sc (--shell-completion) takes one of install=SHELL, uninstall=SHELL and "
    "query=SHELL, SHELL being bash, fish or zsh, such as -sc install=bash"
)
# A part of the text of an error, and the message for it.
MESSAGES = {
    "Only one of": (
        "-m trains, and --cfg and --info only print; leave out -m to see the "
        "configuration of one run"
    ),
    "--resolve flag": (
        "--resolve prints the values of a configuration; add --cfg job, or leave it "
        "out to train"
    ),
    "Expecting one subcommand": COMPLETION,
    "No completion plugin": COMPLETION,
}
PLUGIN = re.compile(r"\+{0,2}hydra[./](launcher|sweeper)(\._target_)?=")
LONG = 200  # characters; a name of a file has at most 255 bytes


def refused(error: Exception, words: Sequence[str]) -> str:
    """Return the message for an error that Hydra raises about words.

    Examples:
      >>> refused(ValueError("Config group override must be"), ["=1"])
      '=1 has no key before its =; write key=value'
    """
    text = str(error)
    for part, message in MESSAGES.items():
        if part in text:
            return message
    if "Config group override" in text:
        return _no_group(words)
    if "Unexpected type for root" in text:
        named = " ".join(word for word in words if word.startswith("hydra."))
        return (
            f"{named}: adds to a section that is empty; a sweep takes its values as "
            "words, such as -m seed=0,1,2"
        )
    plugins = [word for word in words if PLUGIN.match(word)]
    about = "plugin" in text or "is not configured" in text or not text
    if not (plugins and about):
        return ""
    return (
        f"{' '.join(plugins)} names no launcher or sweeper of Hydra; leave it out, or "
        "name one by its file, such as hydra/launcher=fused or hydra/sweeper=select"
    )


def _no_group(words: Sequence[str]) -> str:
    """Return the message for a word that gives a group no name of a file."""
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and not key.lstrip("+~").partition("@")[0]:
            return f"{word} has no key before its =; write key=value"
    named = [word for word in words if re.search(r"=(null|~|[-+.\d]+)$", word)]
    return (
        f"{' '.join(named or words)}: a group of the configuration takes the name of a "
        "file, not a number or null; leave the word out, or name one (twotower train "
        "--help lists them)"
    )


def long_word(error: OSError, words: Sequence[str]) -> InputError | None:
    """Return why a word is unknown that is too long to be the name of a file."""
    if error.errno != errno.ENAMETOOLONG:
        return None
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+~").partition("@")[0]
        if len(key) > LONG and key in str(error.filename):
            return InputError(
                f"unknown key {key}; twotower train --help lists keys and groups"
            )
        for name in value.split(","):
            if len(name) > LONG and name in str(error.filename) and option_names(key):
                return InputError(
                    f"{key}={name} is unknown; twotower train --help {key} lists the "
                    "choices"
                )
    return None


def missing_choice(error: MissingConfigException) -> str:
    """Return the message for a choice of a group that has no file."""
    missing = error.missing_cfg_file or ""
    groups = [family.group for family in FAMILIES.values() if "." in family.section]
    group = next((g for g in groups if missing.startswith(f"{g}/")), "")
    text = str(error).split("Config search path")[0]
    # A group within a group is chosen by a file of the outer one.
    text = re.sub("In '[^']*': " if group else "In 'config': ", "", text)
    text = " ".join(text.split())
    if "hydra/launcher/" in text or "hydra/sweeper/" in text:
        return f"{text}; others: pip install -c constraints.txt -e '.[sweep]'"
    if not text.startswith("Could not find"):
        return text  # a file that another one names
    group = group or missing.partition("/")[0]
    name = missing.removeprefix(f"{group}/")
    known = list(dict.fromkeys([*filter(None, error.options or ()), *_choices(group)]))
    folder = name.rpartition("/")[0]
    beside = [
        choice for choice in known if folder and choice.rpartition("/")[0] == folder
    ]
    if beside:
        start = text.split(" Available options")[0]
        text = f"{start} Available options in '{group}/{folder}': {' '.join(beside)}"
    inner = [choice for choice in known if choice.rpartition("/")[2] == name]
    near = f"did you mean {' or '.join(inner)}?" if inner else closest(name, known)
    return f"{text}; {near}" if near else text


def _choices(group: str) -> Iterable[str]:
    """Yield the choices of a group of this package, those of its folders too."""
    root = files("twotower_jax.conf")
    for part in group.split("/"):
        root = root.joinpath(part)
    if group and root.is_dir():
        yield from _names(root, "")


def _names(folder: Traversable, prefix: str) -> Iterable[str]:
    """Yield the names of the files below a folder, without .yaml."""
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.is_dir():
            yield from _names(path, f"{prefix}{path.name}/")
        elif path.name.endswith(".yaml"):
            yield prefix + path.name.removesuffix(".yaml")


# --- the number of runs, before words are expanded ------------------------------------

# Hydra composes every run before the first, which takes milliseconds and memory each.
MOST = 100_000


def check_number(parsed: Sequence[Override]) -> None:
    """Refuse a sweep of more than `MOST` runs."""
    numbers = {word.get_key_element(): (word, values_listed(word)) for word in parsed}
    runs = math.prod(number for _, number in numbers.values())
    if runs <= MOST:
        return
    several = [
        f"{word.input_line} lists {_count(number)} values"
        for word, number in numbers.values()
        if number > 1
    ]
    total = f", {_count(runs)} runs together" if len(several) > 1 else ""
    raise InputError(
        f"{' and '.join(several)}{total}; a sweep has at most {MOST:,} runs: give "
        "fewer values"
    )


def _count(number: float) -> str:
    """Return a number of values in words of a message."""
    return "endlessly many" if math.isinf(number) else f"{number:,}"


def values_listed(word: Override) -> float:
    """Return how many values a word lists, without expanding a range.

    Examples:
      >>> from hydra.core.override_parser.overrides_parser import OverridesParser
      >>> words = ["seed=3", "seed=1,2", "seed=range(0,10,3)", "seed=range(0,1,0)"]
      >>> parsed = OverridesParser.create().parse_overrides(words)
      >>> [values_listed(one) for one in parsed]
      [1, 2, 4, inf]
    """
    if not (word.is_sweep_override() and word.is_discrete_sweep()):
        return 1
    value = word.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in word.sweep_string_iterator())
    start, stop, step = (
        Decimal(number or 0) for number in (value.start, value.stop, value.step)
    )
    if step == 0 or not all(number.is_finite() for number in (start, stop, step)):
        return math.inf
    return max(0, math.ceil((stop - start) / step))
