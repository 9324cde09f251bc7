"""Words of a command line: overrides as Hydra reads them and a shell passes them."""

import argparse
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twotower_jax.errors import InputError

PLAIN = re.compile(r"[\w./@+-]+", re.ASCII)
# Plain words that Hydra reads as something else than text.
OTHER = re.compile(r"(?i)null|true|false|[-+]?(nan|inf(inity)?|[\d_.]+(e[-+]?\d+)?)")
WIDTH = 78  # with the backslash, 80


def override(key: str, value: Any) -> str:
    """Override that gives a key a value.

    Examples:
      >>> override("data.columns.user", "User ID")
      "data.columns.user='User ID'"
      >>> override("data.clicked_values", ["click", "1"])
      "data.clicked_values=[click,'1']"
      >>> override("data.header", False)
      'data.header=false'
    """
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_value(v)}' for name, v in value.items())}}}"
    if not isinstance(value, str) or (
        PLAIN.fullmatch(value) and not OTHER.fullmatch(value)
    ):
        return str(value)
    # A name in a file, such as ${oc.env:SECRET}, refers to nothing.
    escaped = value.replace("'", r"\'").replace("${", r"\${")
    return f"'{escaped}'"


def command_text(words: Iterable[str]) -> str:
    """Command line to paste into a shell, broken into lines by backslashes.

    Examples:
      >>> command_text(["twotower", "train", "data.columns.user='User ID'"])
      'twotower train "data.columns.user=\\'User ID\\'"'
    """
    lines, line = [], ""
    for word in map(_quoted, words):
        if line and len(line) + len(word) + 1 > WIDTH:
            lines.append(line)
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


def _quoted(word: str) -> str:
    """A word as a shell reads it; double quotes are easier to read."""
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)


# The classes that _target_ may name in a file: launchers, sweepers, samplers and the
# callback. Functions such as hydra.utils.get_object import a module by its name.
TRUSTED = re.compile(
    r"hydra_plugins\.[\w.]+(Launcher|Sweeper)|optuna\.samplers\.[A-Z]\w+"
    r"|hydra\._internal\.core_plugins\.basic_(launcher|sweeper)\.Basic\w+"
    r"|twotower_jax\.sweeps\.callback\.StudyCallback"
)
# Resolvers of OmegaConf whose values are texts or parts of the same configuration.
# Others, such as oc.decode, make a section of a text.
RESOLVERS = ("oc.env", "oc.select")
INTERPOLATION = re.compile(r"\$\{([^:}]*):?")
NAMES = ("--config-dir", "-cd")
DEEPEST = 20  # folders in each other; a link can lead into its own folder


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-dir``, which ``twotower train`` has from Hydra."""
    text = (
        "folder of further configuration files, such as DIR/arms/mine.yaml, for "
        "commands that compose a configuration"
    )
    parser.add_argument(*NAMES, type=Path, metavar="DIR", help=text)


def after_command(words: Sequence[str]) -> list[str]:
    """Words of a command line, with a first ``--config-dir DIR`` behind the command.

    Examples:
      >>> after_command(["--config-dir", "my", "train", "seed=1"])
      ['train', '--config-dir', 'my', 'seed=1']
      >>> after_command(["-cd=my", "data", "check", "a.csv"])
      ['data', 'check', '-cd=my', 'a.csv']
    """
    name, equals, _ = words[0].partition("=") if words else ("", "", "")
    size = 0 if name not in NAMES else 1 if equals else 2
    option, rest = words[:size], words[size:]
    command = 2 if rest[:1] == ["data"] else 1
    return [*rest[:command], *option, *rest[command:]]


def check_config_dir(folder: Path | None, primary: str | None = None) -> None:
    """Refuse a folder that does not exist, or whose files name programs."""
    if folder is None:
        return
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder} is not a folder; give an existing one")
    first = folder / primary.removesuffix(".yaml") if primary else None
    for path in _files(folder):
        for key, value in _entries(path):
            _check_entry(path, key, value)
            if key == "searchpath" and path.with_suffix("") == first:
                raise InputError(
                    f"{path}: {key}: {value[:60]} names another folder of files; give "
                    "it as a word of the command"
                )


def _files(folder: Path) -> list[Path]:
    """The configuration files below a folder, also behind links."""
    found = []
    for root, _, names in os.walk(folder, followlinks=True):
        if len(Path(root).relative_to(folder).parts) > DEEPEST:
            raise InputError(f"--config-dir {folder} has more than {DEEPEST} folders")
        found += [Path(root) / name for name in names if name.endswith(".yaml")]
    return sorted(found)


def _check_entry(path: Path, key: str, value: str) -> None:
    """Refuse a key and its text that would make Hydra run a program."""
    shown = f"{path}: {key}: {value[:60]}"
    if key == "_target_" and not TRUSTED.fullmatch(value):
        raise InputError(
            f"{shown} names a program that Hydra would run; leave it out, or give it "
            "as a word of the command"
        )
    for name in map(str.strip, INTERPOLATION.findall(value)):
        if "$" in name or (name.startswith("oc.") and name not in RESOLVERS):
            raise InputError(
                f"{shown} makes a section of a text; a file may use oc.env, oc.select "
                "and the names of other keys: write the value itself"
            )


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every text in a file with the nearest key above it.

    A file with broken YAML yields nothing; Hydra raises an error if it reads that file.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        # It returns all scalars as text; SafeLoader fails on a date like 2024-13-40.
        todo = [("", yaml.BaseLoader(text).get_single_data() or "")]
    except (OSError, yaml.YAMLError):
        return
    except (ValueError, RecursionError) as error:
        reason = str(error).split(";")[0][:200]
        raise InputError(f"{path} cannot be read: {reason}; correct it") from None
    seen: set[int] = set()  # an alias names one object in many places
    while todo:
        key, one = todo.pop()
        if isinstance(one, str):
            yield key, one
        elif id(one) not in seen:
            seen.add(id(one))
            items = one.items() if isinstance(one, dict) else ((key, x) for x in one)
            todo += [(str(name), value) for name, value in items]


def check_words(words: Sequence[str]) -> None:
    """Refuse overrides that search files which name programs, or leave a study."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key == "hydra.sweep.subdir":
            raise InputError(
                f"{word}: runs name their folders themselves; leave it out, or set "
                "output and name"
            )
        if key == "hydra.searchpath":
            from hydra.core.override_parser.overrides_parser import OverridesParser

            parsed: Any = OverridesParser.create().parse_override(word).value()
            for place in map(str, parsed if isinstance(parsed, list) else [parsed]):
                if not place.startswith("pkg://"):
                    check_config_dir(Path(place.removeprefix("file://")))


def search_words(folder: Path | None) -> list[str]:
    """Overrides that add a folder to the places of configuration files."""
    if folder is None:
        return []

    return [override("hydra.searchpath", [f"file://{folder.resolve()}"])]
