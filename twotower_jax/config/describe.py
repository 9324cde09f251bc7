"""Tables of the keys of the configuration, made from their declarations."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from twotower_jax.config.convert import family_of, type_hints, walk
from twotower_jax.config.root import Config
from twotower_jax.registry import (
    Choice,
    Key,
    declared,
    default_of,
    sections,
    words_of,
)

# Where early stopping decides the end, a share of the limit might lie behind it.
SHORTEST = "; with training.patience a share of the shortest training that it allows"


class KeyRow(NamedTuple):
    """One key of the configuration, as text."""

    key: str  # dotted name
    type: str  # in words, such as "int or null"
    default: str  # as YAML writes it
    allowed: str  # its range or choices; "" where any value of the type is allowed
    doc: str  # its meaning in one line
    example: str  # overrides that set it to another value, quoted for a shell

    @property
    def section(self) -> str:
        """The dotted name of its section; "" for the root."""
        return self.key.rpartition(".")[0]


TYPES = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    dict: "mapping",
    type(None): "null",
}


def describe_keys(
    names: Mapping[str, Collection[str]] | None = None,
    *,
    kind: type = Config,
    prefix: str = "",
) -> list[KeyRow]:
    """Return one row per key of the configuration, in the order of the schema.

    A key that not all choices of a section have names those that do; one with several
    defaults names those that differ from the most frequent one.

    Examples:
      >>> rows = {row.key: row for row in describe_keys({"data.source": ["table"]})}
      >>> rows["training.steps"][:4]
      ('training.steps', 'int or null', 'null', '0 to 2,147,483,647')
    """
    rows: dict[str, dict[str, KeyRow]] = {}
    for key, item, owner, choice in walk(kind, prefix):
        made, section = declared(item), sections(owner).get(item.name)
        if section is not None and issubclass(section, Choice):
            head = _head(default_of(item))
            rows[head.key] = {"": head}
        elif made is not None:
            hint = type_hints(owner)[item.name]
            before = words_of(owner, item.name)
            row = key_row(key, type_text(hint), made, default_of(item), before)
            if allowed := ", ".join((names or {}).get(key, ())):
                row = row._replace(allowed=allowed)
            rows.setdefault(key, {})[choice] = row
    return [_merged(having) for having in rows.values()]


def _head(chosen: Choice) -> KeyRow:
    """Return the row of the key that holds the name of a choice."""
    family = chosen.choices
    first = getattr(chosen, family.tag)
    names = [first, *sorted(set(family) - {first})]
    doc = f"the choice, which brings its keys; written `{family.group}=NAME`"
    other = next(name for name in family if name != first)
    words = words_of(family[other])
    return KeyRow(family.key, "text", first, ", ".join(names), doc, words)


def _merged(having: Mapping[str, KeyRow]) -> KeyRow:
    first = next(iter(having.values()))
    family = family_of(first.key)
    if "" in having or family is None:
        return first
    defaults: dict[str, list[str]] = {}
    docs: dict[str, list[str]] = {}
    for name, row in having.items():
        defaults.setdefault(row.default, []).append(name)
        docs.setdefault(row.doc, []).append(name)
    usual, *others = sorted(defaults, key=lambda text: -len(defaults[text]))
    text = "; ".join([usual, *(f"{', '.join(defaults[o])} {o}" for o in others)])
    doc = "; ".join(_of(names, family) + doc for doc, names in docs.items())
    row = next(row for row in having.values() if row.default == usual)
    return row._replace(default=text, doc=doc)


def _of(names: Sequence[str], family: Collection[str]) -> str:
    others = [name for name in family if name not in names]
    if not others:
        return ""
    few = len(others) < len(names)
    return f"all but {', '.join(others)}: " if few else f"{', '.join(names)}: "


def key_row(name: str, kind: str, made: Key, default: Any, before: str = "") -> KeyRow:
    """Return the row of one declaration, which has an effect behind words before it."""
    example = shlex.join(made.words(name, default, before))
    doc = made.doc + (SHORTEST if made.training else "")
    return KeyRow(name, kind, value_text(default), made.allowed(), doc, example)


def type_text(hint: Any) -> str:
    """Return an annotation in words, such as "list of int" or "text or null"."""
    if hint in TYPES:
        return TYPES[hint]
    inner, origin = get_args(hint), get_origin(hint)
    if origin in (tuple, Sequence):
        return f"list of {type_text(inner[0])}"
    if origin is dict:
        return TYPES[dict]
    return " or ".join(type_text(part) for part in inner)


def value_text(value: Any) -> str:
    """Return a value as YAML writes it; an inner mapping is shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, dict):
        parts = (
            f"{name}: {'{...}' if isinstance(part, dict) else value_text(part)}"
            for name, part in value.items()
        )
        return f"{{{', '.join(parts)}}}"
    # YAML reads 1e-07 as a text, and 1.0e-07 as a number.
    return re.sub(r"^(\d+)e", r"\1.0e", str(value))


def declaration(name: str) -> Key | None:
    """Return the declaration of a key; None for a section or an unknown key."""
    fields = (item for key, item, *_ in walk() if key == name)
    return next(filter(None, map(declared, fields)), None)
