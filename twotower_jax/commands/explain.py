"""``--help KEY``: the meaning of a key, or the keys of a group; tab completion."""

import difflib
import itertools
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

from twotower_jax.commands.advise import advise_rows
from twotower_jax.config.describe import KeyRow, declaration, describe_keys, value_text
from twotower_jax.config.options import (
    Option,
    all_options,
    family_of_group,
    groups,
    option_names,
)
from twotower_jax.errors import InputError
from twotower_jax.sweeps.options import option_rows
from twotower_jax.sweeps.overrides import NAMES

# Commands whose words are overrides.
COMMANDS = ("train", "advise", "audit", "plan")
PAGE = "docs/reference-keys.md"
ANY = {"bool": "true or false"}
MOST_FILES = 12
LABEL = 10
WIDEST = 34


def asked_keys(words: Sequence[str]) -> list[str]:
    """The keys that follow ``--help``, [] where none follows.

    Examples:
      >>> asked_keys(["--help", "loss.temperature", "negatives"])
      ['loss.temperature', 'negatives']
      >>> asked_keys(["--help", "loss=bce"]), asked_keys(["--help"])
      ([], [])
    """
    place = next((i for i, w in enumerate(words) if w in ("--help", "-h")), len(words))
    after = itertools.takewhile(
        lambda word: not word.startswith("-"), words[place + 1 :]
    )
    return [word.rstrip("=.") for word in after if "=" not in word[:-1]]


def all_rows() -> list[KeyRow]:
    """The rows of all keys: of a run, of sweeps and of ``advise``."""
    return [*describe_keys(), *option_rows(), *advise_rows()]


def explain(keys: Iterable[str]) -> int:
    """Print the explanation of keys and groups."""
    rows, options = all_rows(), all_options()
    print("\n\n".join("\n".join(_lines(key, rows, options)) for key in keys))
    return 0


def _lines(key: str, rows: list[KeyRow], options: Sequence[Option]) -> list[str]:
    """The lines of a key, of a section or group, or of an ending of keys."""
    one = [row for row in rows if row.key == key]
    below = [row for row in rows if row.key.startswith(f"{key}.")]
    choices = [option for option in options if option.group == key]
    if below or choices:
        lines = [f"{row.key}: {row.doc}" for row in one]
        return [*lines, *group_lines(f"Keys of {key}", below, choices)]
    ending = one or [row for row in rows if row.key.endswith(f".{key}")]
    if len(ending) > 1:
        return group_lines(f"Keys that end in .{key}", ending, [])
    if not ending:
        groups = {option.group for option in options}
        raise InputError(f"unknown key {key}; {_nearest(key, rows, groups)}")
    row = ending[0]
    if row.type == "text" and not row.allowed:
        # Imported on use: the registries import JAX.
        from twotower_jax.run.checks import registered_names

        row = row._replace(allowed=", ".join(registered_names().get(row.key, ())))
    return key_lines(row, options)


def key_lines(row: KeyRow, options: Iterable[Option]) -> list[str]:
    """Lines that explain a key."""
    command = "advise" if row.key.startswith("advise.") else "train"
    labels = itertools.chain(["set by"], itertools.repeat(""))
    files = zip(labels, set_by(row.key, options), strict=False)
    return [
        row.key,
        *_wrapped("meaning", row.doc),
        *_wrapped("type", row.type),
        *_wrapped("range", row.allowed or ANY.get(row.type, f"any {row.type}")),
        *_wrapped("default", row.default),
        # A command is not wrapped, so that it can be copied.
        f"  {'example':{LABEL}}twotower {command} {row.example}",
        *(line for label, text in files for line in _wrapped(label, text)),
        *_wrapped("page", f"{PAGE}, section {row.section or 'The run'}"),
    ]


def set_by(key: str, options: Iterable[Option]) -> list[str]:
    """Options that set a key, with their values: those of its own group first."""
    found: dict[tuple[str, str], list[str]] = {}
    for option in options:
        try:
            value = value_text(option.value(key))
        except KeyError:
            continue
        found.setdefault((option.group, value), []).append(option.name)
    own = key.rpartition(".")[0].replace(".", "/")
    ordered = sorted(found.items(), key=lambda pair: not own.startswith(pair[0][0]))
    lines = [f"{group}={', '.join(names)}: {v}" for (group, v), names in ordered]
    if len(lines) > MOST_FILES:
        lines[MOST_FILES:] = [f"and {len(lines) - MOST_FILES} other values in conf/"]
    return lines


def group_lines(
    title: str, rows: Sequence[KeyRow], options: Sequence[Option]
) -> list[str]:
    """Lines of a section or group: one per key, and one per option."""
    width = shutil.get_terminal_size((1000, 24)).columns
    lines = []
    if rows:
        lines.append(f"{title}, with default and meaning; --help KEY explains one:")
        lines += _columns([(row.key, row.default, row.doc) for row in rows], width)
    if options:
        group = options[0].group
        does = "makes a choice" if family_of_group(group) else "sets the keys of a file"
        lines.append(f"{group}=NAME {does}:")
        lines += _columns([(option.name, option.about) for option in options], width)
    return lines


def _columns(table: list[tuple[str, ...]], width: int) -> list[str]:
    """Return rows in columns, each cut to one line."""
    columns = list(zip(*table, strict=True))
    widths = [min(WIDEST, max(map(len, column))) for column in columns]
    lines = []
    for row in table:
        cells = [f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)]
        line = f"  {'  '.join(cells[:-1])}  {row[-1]}"
        lines.append(line if len(line) <= width else f"{line[: width - 3]}...")
    return lines


def _wrapped(label: str, text: str) -> list[str]:
    """A text in lines after its label."""
    return textwrap.wrap(
        text,
        min(100, shutil.get_terminal_size().columns),
        initial_indent=f"  {label:{LABEL}}",
        subsequent_indent=" " * (LABEL + 4),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _nearest(key: str, rows: Iterable[KeyRow], groups: Iterable[str]) -> str:
    """A question with the names nearest to an unknown one."""
    names = {row.key for row in rows} | {row.section for row in rows} | set(groups)
    last: dict[str, list[str]] = {}
    for name in sorted(names):
        last.setdefault(name.rpartition(".")[2], []).append(name)
    near = difflib.get_close_matches(key.rpartition(".")[2], last, n=2, cutoff=0.7)
    found = [name for part in near for name in last[part]]
    found += difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    *others, end = list(dict.fromkeys(found))[:3] or [""]
    if not end:
        return "twotower train --help lists all keys"
    return f"did you mean {' or '.join([', '.join(others), end] if others else [end])}?"


# The last word behind a command whose words are overrides.
OVERRIDES = re.compile(
    r"\s*\S+\s+(train|advise|audit|plan|data\s+check)\s+(?:.*\s)?(\S*)", re.DOTALL
)
# A folder of configuration files before the command.
BEFORE = re.compile(rf"^(\s*\S+)\s+(?:{'|'.join(NAMES)})[\s=]+\S+(?=\s)")


def complete(options: list[str], commands: Iterable[str]) -> int:
    """Print a script of completion, or the completions of the line of a shell."""
    if not options[-1].startswith("query="):
        from twotower_jax.commands.train import train  # imports Hydra

        return train(options)
    # The shell completes the word at the cursor, and COMP_LINE is the whole line.
    line = os.environ.get("COMP_LINE", "")
    line = BEFORE.sub(r"\1", line[: int(os.environ.get("COMP_POINT") or len(line))])
    if match := OVERRIDES.fullmatch(line):
        words = completions(match[2], advise=match[1] == "advise")
    else:
        start = "".join(line.split(maxsplit=1)[1:])
        words = [name for name in commands if name.startswith(start)]
    print(("\n" if options[-1] == "query=fish" else " ").join(words))
    return 0


def completions(word: str, *, advise: bool = False) -> list[str]:
    """The completions of an override, up to its next part.

    Examples:
      >>> completions("negatives=uniform,mi")
      ['negatives=uniform,mined', 'negatives=uniform,mixed']
      >>> completions("negatives.e"), completions("arms=plain/alpha_7")
      (['negatives.easy.'], ['arms=plain/alpha_75'])
    """
    key, equals, value = word.partition("=")
    if equals and value.startswith((".", "/")):
        from hydra.plugins.completion_plugin import CompletionPlugin

        return [f"{key}={path}" for path in CompletionPlugin.complete_files(value)]
    if equals:
        before, comma, last = value.rpartition(",")
        names = [name for name in values_of(key) if name.startswith(last)]
        return sorted(f"{key}={before}{comma}{name}" for name in names)
    rows = [row for row in all_rows() if advise or not row.key.startswith("advise.")]
    known = [f"{name}=" for name in (*(row.key for row in rows), *groups())]
    bare = word.lstrip("+~")
    ends = (re.match(r".*?[./=]", k[len(bare) :]) for k in known if k.startswith(bare))
    return sorted({f"{word}{end[0]}" for end in ends if end})


def values_of(key: str) -> Sequence[str]:
    """The values that a key or group may take, () where they are not names.

    Examples:
      >>> values_of("training.order"), values_of("data.header"), values_of("seed")
      (('shuffled', 'time', 'blocks'), ('true', 'false'), ())
    """
    key = key.lstrip("+~")
    if names := option_names(key):
        return names
    kinds = {row.key: row.type for row in all_rows()}
    if kinds.get(key, "").startswith("bool"):
        return ("true", "false")
    made = declaration(key)
    return made.choices if made is not None and kinds[key].startswith("text") else ()
