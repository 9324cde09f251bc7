"""Arms of a comparison: names of files in ``conf/arms``, or names with overrides."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from twotower_jax import conf
from twotower_jax.config import Config
from twotower_jax.data.text_files import write_text
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import sections

Arm = str | tuple[str, Mapping[str, Any]]


class Choice(NamedTuple):
    """An arm as a file of the group ``arms``."""

    name: str  # value of ``arms=``
    label: str | None  # of the arm in tables; None: that of its file
    # {key: value} that the arm sets beside its file; {} for a file of conf/arms.
    keys: Mapping[str, Any]


def known_arms() -> list[str]:
    """Names of the files in ``conf/arms``, such as ``slots/uniform``."""
    folder = Path(conf.__file__).parent / "arms"
    names = (
        path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")
    )
    return sorted(name.as_posix() for name in names)


def choices(arms: Sequence[Arm], *, searched: bool) -> list[Choice]:
    """The arms of a comparison as files, their names checked."""
    if isinstance(arms, str) or len(arms) < 2:
        raise InputError(
            f"arms={arms!r} are fewer than two; give a list of two arms or more, such "
            "as ['in_batch_logq', 'uniform']"
        )
    made, known = [], known_arms()
    for arm in arms:
        made.append(Choice(arm, None, {}) if isinstance(arm, str) else _pair(arm))
        names = [made[-1].name] if isinstance(arm, str) else []
        names += [str(made[-1].keys["arms"])] if "arms" in made[-1].keys else []
        for name in names:
            if name not in known and not searched:
                raise _unknown(name, known)
    return made


def _unknown(name: str, known: list[str]) -> InputError:
    near = closest(name, known)
    listed = ", ".join(known)
    return InputError(
        f"arms: {name!r} is no file of conf/arms{f' ({near})' if near else ''}; choose "
        f"of {listed}, or give a pair (name, {{key: value}})"
    )


def _pair(arm: Any) -> Choice:
    """Return a pair as a choice, whose name has a hash of its content."""
    if not (
        isinstance(arm, tuple | list)
        and len(arm) == 2
        and isinstance(arm[0], str)
        and isinstance(arm[1], Mapping)
    ):
        raise InputError(
            f"arms: {arm!r} is neither a name nor a pair; give a file of conf/arms, or "
            "(name, {key: value})"
        )
    label, keys = arm
    mark = hashlib.sha256(_text(label, keys).encode()).hexdigest()[:8]
    slug = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_")
    return Choice(f"{slug}-{mark}".strip("-"), label, keys)


def check_once(made: Sequence[Choice], overrides: Mapping[str, Any]) -> None:
    """Refuse a key that is set for one arm and for all."""
    for choice in made:
        if both := sorted(set(choice.keys) & set(overrides)):
            raise InputError(
                f"{both[0]} is set by overrides and by the arm {choice.label!r}; set "
                "it for each arm, or for all of them"
            )


def write_arms(made: Sequence[Choice], folder: Path) -> Path | None:
    """Write the arms that are pairs as configuration files."""
    pairs = [pair for pair in made if pair.label is not None]
    for pair in pairs:
        path = folder / "arms" / f"{pair.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _text(pair.label or "", pair.keys))
    return folder if pairs else None


def _text(label: str, keys: Mapping[str, Any]) -> str:
    """Return the configuration file of an arm: choices of groups, then keys."""
    groups = set(sections(Config))
    defaults: list[Any] = [str(keys["arms"])] if "arms" in keys else []
    values: dict[str, Any] = {"arm": label}
    for key, value in keys.items():
        if key in groups and isinstance(value, str):
            defaults.append({f"override /{key}": value})
        elif key != "arms":
            _put(values, key.split("."), value)
    content = {"defaults": [*defaults, "_self_"], **values}
    return "# @package _global_\n" + yaml.safe_dump(content, sort_keys=False)


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a nested value."""
    *parents, last = path
    for name in parents:
        values = values.setdefault(name, {})
    plain = dict(value) if isinstance(value, Mapping) else value
    values[last] = list(plain) if isinstance(plain, tuple) else plain
