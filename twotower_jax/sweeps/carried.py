"""The choices of an earlier selection, carried to another study."""

from collections.abc import Mapping
from pathlib import Path

from twotower_jax.errors import InputError, closest
from twotower_jax.study.selection import FILE, ArmChoice, Selection, read_selection

OPTION = "hydra.sweeper.selection"


def read_source(place: str) -> tuple[Path, Selection]:
    """Return the file of an earlier selection, and its content."""
    path = Path(place)
    path = path if path.name == FILE else path / FILE
    selection = read_selection(path.parent)
    if selection is None:
        raise InputError(
            f"{OPTION}={place}: there is no {path}; name the {FILE} of a study that "
            "hydra/sweeper=select has tuned, or its folder"
        )
    return path, selection


def carried_choice(
    name: str, source: Mapping[str, ArmChoice], place: Path
) -> ArmChoice:
    """Return the choice of an arm in an earlier selection."""
    if name not in source:
        near = closest(name, list(source))
        raise InputError(
            f"{OPTION}={place} has no arm {name!r}{f' ({near})' if near else ''}; it "
            f"has {', '.join(map(repr, source))}; tune this arm there, leave it out, "
            "or give it the label of its settings (arm=...)"
        )
    if source[name].chosen is None:
        raise InputError(
            f"{OPTION}={place}: no point of {name!r} was finished by all its runs, so "
            "that nothing was chosen for it; tune it there again, or leave it out"
        )
    return source[name]
