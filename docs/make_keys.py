"""Write the tables of keys from the declarations of the sections.

``python docs/make_keys.py`` writes docs/reference-keys.md and the table of the
simulator's README. A test checks that both are up to date.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from twotower_jax.commands.advise import advise_rows
from twotower_jax.config.describe import KeyRow, describe_keys, value_text
from twotower_jax.config.options import Option, all_options, family_of_group
from twotower_jax.config.root import FAMILIES
from twotower_jax.run.checks import registered_names
from twotower_jax.sweeps.options import option_rows

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference-keys.md"
SIMULATOR = ROOT / "twotower_jax" / "data" / "simulator" / "README.md"
HEAD = """# Keys of the configuration

Every key of `twotower train`, with its type, default, allowed values, meaning and an
example. The command line explains them too, with the files that set a key:

```bash
twotower train --help loss.temperature   # one key
twotower train --help negatives          # all keys and files of a group
twotower train --help mask_seen          # the last part of a key is enough
```

A value out of range ends with exit status 2 before any training. The allowed values of
a list are those of its parts. An empty cell allows every value of the type. Examples
follow `twotower train`, that of `advise.minutes` follows `twotower advise`.

`loss=NAME`, `optimizer=NAME`, `positives=NAME` and `towers=NAME` make a choice, which
has keys of its own: the meaning of a key names the choices that have it, and a key of
another choice is refused. In Python a section names its choice:
`from_dict({"loss": {"name": "bce"}})`.

The other groups (`data=`, `negatives=`, ...) pick files of `conf/` that set several
keys at once; a table after the keys of a section lists them. In Python a section that
names its file has its values: `from_dict({"data": {"source": "table", ...}})` is
`data=table`.

This page is written by `python docs/make_keys.py` from the dataclasses of the sections.
"""
BEGIN, END = "<!-- keys: python docs/make_keys.py -->\n", "<!-- /keys -->"


def all_rows() -> list[KeyRow]:
    """Return the rows of the page, with the names of registries."""
    return [*describe_keys(registered_names()), *option_rows(), *advise_rows()]


def page() -> str:
    """Return the text of docs/reference-keys.md."""
    rows: dict[str, list[KeyRow]] = {}
    for row in all_rows():
        rows.setdefault(row.section, []).append(row)
    parts = [HEAD]
    for name, keys in rows.items():
        parts.append(f"## {name or 'The run'}\n\n{key_table(keys)}")
        parts += option_table(name.replace(".", "/"))
    return "\n".join(parts)


def key_table(rows: Iterable[KeyRow], prefix: str = "") -> str:
    """Return rows as a table in Markdown, keys without a prefix."""
    lines = [
        "| key | type | default | allowed | meaning | example |",
        "|---|---|---|---|---|---|",
    ]
    for key, kind, default, allowed, doc, example in rows:
        name = key.removeprefix(prefix)
        lines.append(
            f"| `{name}` | {kind} | `{default}` | {allowed} | {doc} | `{example}` |"
        )
    return "\n".join(lines) + "\n"


def option_table(group: str) -> list[str]:
    """Return the lines of a table of a group's files, [] for fewer than two files."""
    options = [option for option in all_options() if option.group == group]
    if len(options) < 2:
        return []
    if len(options) == len(family_of_group(group)):
        lines = [f"| `{group}=` | meaning |", "|---|---|"]
        lines += [f"| `{option.name}` | {option.about} |" for option in options]
        return ["\n".join(lines) + "\n"]
    lines = [
        f"| `{group}=` | meaning | values that are not the defaults |",
        "|---|---|---|",
    ]
    for option in options:
        keys = ", ".join(f"`{word}`" for word in other_values(option))
        lines.append(f"| `{option.name}` | {option.about} | {keys} |")
    return ["\n".join(lines) + "\n"]


def other_values(option: Option) -> Iterator[str]:
    """Yield the values of a file that are not defaults, without its own name."""
    group = option.group
    section = group.replace("/", ".")
    name = FAMILIES[section].tag if section in FAMILIES else "source"
    prefix = f"{section}."
    for row in all_rows():
        key = row.key.removeprefix(prefix)
        if not row.key.startswith(prefix) or key == name:
            continue
        try:
            value = option.value(row.key)
        except KeyError:
            continue
        text = value_text(value)
        # 0 is the default 0.0, and the default of arm_tune is shortened.
        if text != row.default and yaml.safe_load(row.default) != value:
            yield f"{key}={text}"


def simulator_page() -> str:
    """Return the text of the simulator's README with its table of keys renewed."""
    keys = [row for row in describe_keys() if row.section == "data.simulator"]
    table = BEGIN + key_table(keys, "data.simulator.") + END
    return re.sub(
        f"{BEGIN}.*?{END}", lambda _: table, SIMULATOR.read_text(), flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    SIMULATOR.write_text(simulator_page())
