"""Words of Hydra's command line: how they are read, and why one is wrong."""

import errno
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import PurePath
from typing import Any

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

from twotower_jax.config.convert import known_keys, unknown_key
from twotower_jax.config.options import option_names
from twotower_jax.data.config import PATHS
from twotower_jax.errors import InputError, closest
from twotower_jax.sweeps.options import option_rows
from twotower_jax.sweeps.overrides import command_text, override

# Keys of files and folders, whose values need no quotes of Hydra's.
PLACES = ("output=", *(f"data.{name}=" for name in PATHS))
# Hydra composes every run before the first, which takes milliseconds and memory each.
MOST = 100_000
HELP = "twotower train --help lists keys and groups"
COMPLETION = (
    "it takes one of install=SHELL, uninstall=SHELL and query=SHELL, SHELL being "
    "bash, fish or zsh, such as -sc install=bash"
)
PLUGIN = r"\+{0,2}hydra[./](launcher|sweeper)(\._target_)?="
NAME_PLUGIN = (
    "leave it out, or name a launcher or sweeper by its file, such as "
    "hydra/launcher=fused or hydra/sweeper=select"
)
# A part of an error of Hydra, the words that it is about, and the remedy.
REMEDIES = (
    ("Only one of", "-m$|--multirun", "leave out -m to see the configuration of a run"),
    ("--resolve flag", "--resolve", "add --cfg job, or leave it out to train"),
    ("Expecting one subcommand", "-sc|--shell", COMPLETION),
    ("No completion plugin", "-sc|--shell", COMPLETION),
    (
        "Unexpected type for root",
        r"hydra\.",
        "a sweep takes its values as words, such as -m seed=0,1,2",
    ),
    (
        "Unexpected type annotation",
        r".*(range|choice)\(.*\),|.*,.*\(",
        "a range or a choice among other values; give each value, such as seed=0,1,2",
    ),
    (
        "Config group override",
        r".*=(.*,)?(null|~|[-+.\d]*)(,.*)?$",
        "write GROUP=NAME with the name of a choice, not a number or null, or leave "
        "the word out: twotower train --help lists groups",
    ),
    ("plugin", PLUGIN, NAME_PLUGIN),
    ("is not configured", PLUGIN, NAME_PLUGIN),
    (
        "composing config",
        "",
        "correct that file (its keys, and a first line such as # @package _global_), "
        "or the word that names it",
    ),
)


@contextmanager
def explained(words: Sequence[str]) -> Iterator[None]:
    """Raise what Hydra and OmegaConf raise as wrong input."""
    try:
        yield
    except InputError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, words)) from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"a file of the configuration is broken: {reason}") from None
    except (AssertionError, ImportError, OSError, RuntimeError, ValueError) as error:
        if message := _of_python(error, words):
            raise InputError(message) from None
        raise


def explain(error: Exception, words: Sequence[str]) -> str:
    """The word that an error of Hydra is about, its reason, and the remedy."""
    if isinstance(error, MissingConfigException):
        return _missing_choice(error)
    first, *rest = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, OverrideParseException):
        word = error.override
        if os.path.exists(word):  # Path.exists raises for a name that is too long
            return f"{word} is no key=value; a log is data=table data.path={word}"
        remedy = _in_quotes(word) if "=" in word else f"write key=value ({HELP})"
        reason = rest[0] if rest and first.startswith("Error parsing") else first
        return f"{word} cannot be read: {reason}; {remedy}"
    if first.startswith("Ambiguous value"):
        word = first.split("'", 1)[1].rstrip("'")
        return f"{word} has several values: -m runs each of them; {_in_quotes(word)}"
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    key = next((k for e in causes if (k := getattr(e, "full_key", None))), "")
    key = key.partition("[")[0]
    reason = str(causes[-1]).partition("\n")[0]
    if first.endswith("raised while composing config:"):
        reason = " ".join([first, *rest[:1]])
    elif isinstance(error, InterpolationResolutionError):
        plain = [re.sub(r"\\(?=[{}:])", "", word) for word in words]
        own = [word for word in plain if "${" in word]
        about = [word for word in own if word.startswith(f"{key}=")] or own or [key]
        return (
            f"{' '.join(about)} has no value: {reason}; write the value itself, or a "
            "reference to a key or a variable that has one"
        )
    elif key and " not in " in reason.replace(" is not in ", " not in "):
        return str(unknown_key(key, [row.key for row in option_rows()]))
    about = [word for word in words if _is_about(word, key, reason)]
    below = [name for name in known_keys() if key and name.startswith(f"{key}.")]
    if below and "is not a subclass of" in reason:
        return (
            f"{' '.join(about)}: {key} has keys of its own; set one, such as {below[0]}"
        )
    remedy = _remedy(reason) or (
        f"twotower train --help {key} explains it" if key in known_keys() else HELP
    )
    return f"{' '.join(about) or key or first}: {reason}; {remedy}"


def _key(word: str) -> str:
    """The key, or the group, of an override."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _is_about(word: str, key: str, reason: str) -> bool:
    """Whether an override sets a key, or chooses a file that a reason names."""
    name, value = _key(word), word.partition("=")[2]
    if pattern := next((p for part, p, _ in REMEDIES if p and part in reason), ""):
        return bool(re.match(pattern, word))
    files = (f"'{name}/{choice}'" for choice in value.split(","))
    return name == key or any(file in reason for file in files)


def _remedy(reason: str) -> str:
    return next((remedy for part, _, remedy in REMEDIES if part in reason), "")


def _of_python(error: Exception, words: Sequence[str]) -> str:
    """The message for an error of Python that Hydra raises about words."""
    reason = " ".join(str(error).split())
    if isinstance(error, OSError):
        name = PurePath(str(error.filename)).name.removesuffix(".yaml")
        about = [word for word in words if name in word]
        if error.errno != errno.ENAMETOOLONG or not about:
            return ""
        return f"unknown: {about[0]} ({error.strerror}); {HELP}"
    if "Config group override" in reason:
        keys = known_keys()
        words = [w for w in words if option_names(_key(w)) or _key(w) not in keys]
    if not reason and isinstance(error, AssertionError):
        reason = "no plugin"
    about = [word for word in words if _is_about(word, "", reason)]
    if "Config group override" in reason:  # of a file that a word names
        about = about or words
    remedy = _remedy(reason)
    # An error of a run, such as one of JAX about a plugin of its own, is not of words.
    return f"{' '.join(about)}: {reason}; {remedy}" if about and remedy else ""


def _missing_choice(error: MissingConfigException) -> str:
    """The message for a choice of a group that has no file."""
    text = " ".join(str(error).split("Config search path")[0].split())
    text = text.removeprefix("In 'config': ")
    if "hydra/launcher/" in text or "hydra/sweeper/" in text:
        return f"{text}; others: pip install -c constraints.txt -e '.[sweep]'"
    missing = error.missing_cfg_file or ""
    group, _, name = missing.partition("/")
    if inner := option_names(f"{group}/{name.partition('/')[0]}"):
        name, known = name.partition("/")[2], inner
    else:
        known = [*(error.options or ()), *option_names(group)]
    ending = [choice for choice in known if choice.endswith(f"/{name}")]
    near = f"did you mean {ending[0]}?" if ending else closest(name, known)
    return f"{text}; {near or f'twotower train --help {group} lists them'}"


def _in_quotes(word: str) -> str:
    """The remedy for a value that Hydra reads as more than a text."""
    key, _, value = word.partition("=")
    inner = value.replace("'", r"\'")
    quoted = command_text([f"{key}='{inner}'"])
    return (
        "a value with commas, brackets, quotes, ~, or letters other than a to z takes "
        f"quotes of its own: {quoted}"
    )


# --- words as Hydra reads them ------------------------------------------------------


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
    """The parsed words of a sweep, of which each lists a value."""
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


def check_number(parsed: Sequence[Override]) -> None:
    """Refuse a sweep of more than `MOST` runs, before its words are expanded."""
    numbers = {word.get_key_element(): (word, values_listed(word)) for word in parsed}
    runs = math.prod(number for _, number in numbers.values())
    if runs <= MOST:
        return
    several = [
        f"{word.input_line} lists {number:,} values"
        for word, number in numbers.values()
        if number > 1
    ]
    total = f", {runs:,} runs together" if len(several) > 1 else ""
    raise InputError(
        f"{' and '.join(several)}{total}; a sweep has at most {MOST:,} runs: give "
        "fewer values"
    )


def values_listed(word: Override) -> float:
    """Return how many values a word lists, without expanding a range.

    Examples:
      >>> from hydra.core.override_parser.overrides_parser import OverridesParser
      >>> words = ["seed=3", "seed=1,2", "seed=range(0,10,3)", "seed=range(0,1,0)"]
      >>> parsed = OverridesParser.create().parse_overrides(words)
      >>> [values_listed(word) for word in parsed]
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
