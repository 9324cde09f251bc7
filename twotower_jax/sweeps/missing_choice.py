"""The message for a choice of a group that has no file, such as arms=papers/bsll."""

import re
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from hydra.errors import MissingConfigException

from twotower_jax.errors import closest


def missing_choice(error: MissingConfigException) -> str:
    """Return the message for a choice of a group that has no file."""
    text = str(error).split("Config search path")[0]
    text = " ".join(re.sub(r"In '[^']*': ", "", text).split())
    if "hydra/launcher/" in text or "hydra/sweeper/" in text:
        return f"{text}; others: pip install -c constraints.txt -e '.[sweep]'"
    if not text.startswith("Could not find"):
        return text  # a file that another one names
    group, _, name = (error.missing_cfg_file or "").partition("/")
    known = list(dict.fromkeys([*filter(None, error.options or ()), *_choices(group)]))
    folder = name.rpartition("/")[0]
    beside = [one for one in known if folder and one.rpartition("/")[0] == folder]
    if beside:
        start = text.split(" Available options")[0]
        text = f"{start} Available options in '{group}/{folder}': {' '.join(beside)}"
    inner = [one for one in known if one.rpartition("/")[2] == name]
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
    for one in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if one.is_dir():
            yield from _names(one, f"{prefix}{one.name}/")
        elif one.name.endswith(".yaml"):
            yield prefix + one.name.removesuffix(".yaml")
