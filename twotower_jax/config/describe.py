"""Tables of the keys of the configuration, made from their declarations."""

import dataclasses
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from twotower_jax.config.convert import kinds
from twotower_jax.config.root import Config
from twotower_jax.registry import (
    Choice,
    Key,
    declared,
    default_of,
    example_of,
    sections,
)

# Where early stopping decides the end, a share of the limit might lie behind it.
SHORTEST = "; with training.patience a share of the shortest training that it allows"


class KeyRow(NamedTuple):
    """One key of the configuration, as text.

    Attributes:
      key: dotted name.
      type: its type in words, such as "int or null".
      default: its default as YAML writes it.
      allowed: its range or choices; "" where any value of the type is allowed.
      doc: its meaning in one line.
      example: overrides of a command that sets it to another value, quoted for a shell.
    """

    key: str
    type: str
    default: str
    allowed: str
    doc: str
    example: str

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

    Examples:
      >>> rows = {row.key: row for row in describe_keys({"data.source": ["table"]})}
      >>> rows["training.steps"][:4]
      ('training.steps', 'int or null', 'null', '0 to 2,147,483,647')
      >>> rows["data.split"].allowed
      'temporal, leave_last_out, ratio, given'
      >>> rows["data.source"].allowed, rows["optimizer.name"].allowed
      ('table', 'adam, adagrad, adam_dense, sgd')
    """
    names = names or {}
    inner, hints = sections(kind), get_type_hints(kind)
    rows = []
    for item in dataclasses.fields(kind):
        key = f"{prefix}{item.name}"
        if item.name in inner:
            section = inner[item.name]
            parts = [
                describe_keys(names, kind=part, prefix=f"{key}.")
                for part in kinds(section)
            ]
            chosen = default_of(item)
            rows += parts[0] if len(parts) == 1 else _of_family(chosen, parts)
        made = declared(item)
        if made is None:
            continue
        allowed = ", ".join(names.get(key, ()))
        row = key_row(key, type_text(hints[item.name]), made, default_of(item))
        rows.append(row._replace(allowed=allowed) if allowed else row)
    return rows


def _of_family(chosen: Choice, parts: Sequence[Sequence[KeyRow]]) -> list[KeyRow]:
    """Return the rows of all choices of a section, each key once.

    A key that not all choices have names those that do; one with several defaults
    names those that differ from the most frequent one.
    """
    family = chosen.choices
    first = getattr(chosen, family.tag)
    names = ", ".join([first, *sorted(set(family) - {first})])
    doc = f"the choice, which brings its keys; written `{family.group}=NAME`"
    other = next(name for name in family if name != first)
    example = example_of(chosen) or f"{family.group}={other}"
    head = KeyRow(family.key, "text", first, names, doc, example)
    rows: dict[str, dict[str, KeyRow]] = {}
    for name, part in zip(family, parts, strict=True):
        for row in part:
            rows.setdefault(row.key, {})[name] = row
    merged = [head]
    for having in rows.values():
        defaults: dict[str, list[str]] = {}
        for name, row in having.items():
            defaults.setdefault(row.default, []).append(name)
        usual, *others = sorted(defaults, key=lambda text: -len(defaults[text]))
        text = "; ".join([usual, *(f"{', '.join(defaults[o])} {o}" for o in others)])
        row = next(row for row in having.values() if row.default == usual)
        meanings: dict[str, list[str]] = {}
        for name, one in having.items():
            meanings.setdefault(one.doc, []).append(name)
        docs = (_of(names, family) + doc for doc, names in meanings.items())
        merged.append(row._replace(default=text, doc="; ".join(docs)))
    return merged


def _of(names: Sequence[str], family: Collection[str]) -> str:
    """Return the choices that have a key, as the start of its meaning."""
    others = [name for name in family if name not in names]
    if not others:
        return ""
    few = len(others) < len(names)
    return f"all but {', '.join(others)}: " if few else f"{', '.join(names)}: "


def key_row(name: str, kind: str, made: Key, default: Any) -> KeyRow:
    """Return the row of one declaration.

    Examples:
      >>> row = key_row("loss.margin", "float", Key("margin", "0.5", above=0), 0.2)
      >>> row.default, row.allowed, row.example
      ('0.2', 'above 0', 'loss.margin=0.5')
    """
    example = shlex.join(made.words(name, default))
    doc = made.doc + (SHORTEST if made.training else "")
    return KeyRow(name, kind, value_text(default), made.allowed(), doc, example)


def key_table(rows: Iterable[KeyRow], prefix: str = "") -> str:
    """Return rows as a table in Markdown.

    Examples:
      >>> margin = Key("margin", "loss=hinge loss.margin=0.5", above=0)
      >>> row = key_row("loss.margin", "float", margin, 0.2)
      >>> print(key_table([row], "loss."), end="")
      | key | type | default | allowed | meaning | example |
      |---|---|---|---|---|---|
      | `margin` | float | `0.2` | above 0 | margin | `loss=hinge loss.margin=0.5` |
    """
    lines = [
        "| key | type | default | allowed | meaning | example |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"`{row.key.removeprefix(prefix)}`",
            row.type,
            f"`{row.default}`",
            row.allowed,
            row.doc,
            f"`{row.example}`",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def type_text(hint: Any) -> str:
    """Return an annotation in words, such as "list of int" or "text or null".

    Examples:
      >>> type_text(tuple[int, ...]), type_text(str | None)
      ('list of int', 'text or null')
    """
    if hint in TYPES:
        return TYPES[hint]
    inner, origin = get_args(hint), get_origin(hint)
    if origin in (tuple, Sequence):
        return f"list of {type_text(inner[0])}"
    if origin is dict:
        return TYPES[dict]
    return " or ".join(type_text(part) for part in inner)


def value_text(value: Any) -> str:
    """Return a value as YAML writes it; an inner mapping is shortened.

    Examples:
      >>> value_text(None), value_text([10, 20]), value_text(1e-7)
      ('null', '[10, 20]', '1.0e-07')
      >>> value_text({"ease": {"baseline.ease.l2": "1,10"}})
      '{ease: {...}}'
    """
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


def declaration(name: str, kind: type = Config) -> Key | None:
    """Return the declaration of a key; None for a section or an unknown key.

    Examples:
      >>> declaration("negatives.hard_ratio").allowed()
      '0 to 1'
      >>> declaration("negatives") or declaration("negatives.hard.rate")
    """
    head, _, rest = name.partition(".")
    if inner := sections(kind).get(head):
        found = (declaration(rest, part) for part in kinds(inner))
        return next((made for made in found if made is not None), None)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    return declared(fields[name]) if name in fields else None
