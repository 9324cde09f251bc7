"""The folder of an interrupted run whose training goes on with another mesh."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from twotower_jax.config import Config, fingerprint, from_record, to_dict
from twotower_jax.config.parse_text import parse_yaml
from twotower_jax.data.drafts import draft_of
from twotower_jax.errors import InputError
from twotower_jax.run.folder import RunFolder, stored_config
from twotower_jax.run.loader import trains
from twotower_jax.training.checkpoint import PLACE, Checkpoints, check_place

# Each with the value that it has where it is not given.
KEYS = {
    "training.devices": 1,
    "training.mesh.data": None,
    "training.mesh.table": 1,
}
WORDS = ", ".join(f"{key}=N" for key in KEYS)


class Remeshed(NamedTuple):
    """A folder from which a training goes on."""

    folder: Path  # of the run with the other mesh
    step: int  # of its last state
    damaged: tuple[str, ...]  # why states of the earlier folder were left out
    words: list[str]  # ``key=value`` that give the mesh in a command of that run


def remesh(folder: Path, words: list[str]) -> Remeshed:
    """Make the folder of a run with another mesh beside that of an interrupted run.

    The words are ``key=value`` of the keys of `KEYS`. The interrupted run stays as it
    is.
    """
    before = stored_config(folder)
    config, record = with_mesh(before, words), RunFolder(folder)
    _check(before, config, record)
    target = folder.with_name(fingerprint(config))
    if target.exists():
        raise InputError(
            f"{target} is there, and nothing of it is overwritten; its command goes on "
            "from its own states, or move that folder away"
        )
    check_place(folder)
    with draft_of(target) as draft:
        shutil.copytree(folder, draft, ignore=lambda *_: [PLACE])
        steps, damaged = Checkpoints(folder).copy(draft)
        if not steps:
            raise InputError(damaged[0])
        _describe(RunFolder(draft), config, folder)
    return Remeshed(target, steps[-1], damaged, _words(before, words))


def with_mesh(config: Config, words: list[str]) -> Config:
    """Return a configuration with another mesh; keys not given have their defaults.

    Examples:
      >>> with_mesh(Config(), ["training.mesh.table=2"]).training.mesh_shape
      (1, 2)
    """
    mesh: dict[str, Any] = dict(KEYS)
    for word in words:
        key, equals, text = word.partition("=")
        if key not in KEYS or not equals:
            raise InputError(
                f"{word!r}: only the mesh of a training changes; give {WORDS}"
            )
        try:
            mesh[key] = parse_yaml(text)
        except ValueError:
            mesh[key] = text  # refused as another type
    values = to_dict(config)
    training = values["training"]
    training["devices"] = mesh["training.devices"]
    training["mesh"] = {
        axis: mesh[f"training.mesh.{axis}"] for axis in ("data", "table")
    }
    return from_record(values)


def _check(before: Config, config: Config, record: RunFolder) -> None:
    """Refuse what has no state to go on from with another mesh."""
    data, table = config.training.mesh_shape
    mesh = f"training.mesh.data={data} training.mesh.table={table}"
    if record.is_done():
        raise InputError(
            f"{record.path} has finished: evaluate and export read it on one device, "
            "and training.start_from= takes its parameters on any mesh"
        )
    if before.training.mesh_shape == (data, table):
        raise InputError(
            f"{record.path} has {mesh} already; its command goes on, or give {WORDS}"
        )
    if not trains(config) or not Checkpoints(record.path).steps():
        raise InputError(
            f"{record.path} has no checkpoint yet; train from the start with {mesh}"
        )


def _describe(record: RunFolder, config: Config, source: Path) -> None:
    """Write configuration, manifest and status of the run with the other mesh.

    Command, versions, device and mesh in the manifest stay those of the steps so far:
    the training that goes on writes them under ``earlier``.
    """
    record.write_config(config)
    made = record.read("manifest") or {}
    record.write("manifest", made | {"config_fingerprint": fingerprint(config)})
    record.set_status("running", f"goes on from a state of {source}")


def _words(before: Config, words: list[str]) -> list[str]:
    """Return the words of a mesh, with defaults of keys that had another value."""
    given = {word.partition("=")[0] for word in words}
    training = before.training
    had = (training.devices, training.mesh.data, training.mesh.table)
    pairs = zip(KEYS.items(), had, strict=True)
    reset = [(key, now) for (key, now), was in pairs if key not in given and was != now]
    return [*words, *(f"{key}={'null' if n is None else n}" for key, n in reset)]
