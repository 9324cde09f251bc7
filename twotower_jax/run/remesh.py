"""The folder of an interrupted run whose training goes on with another mesh."""

import shutil
from pathlib import Path
from typing import NamedTuple

from twotower_jax.config import Config, fingerprint, from_record, to_dict
from twotower_jax.config.parse_text import parse_yaml
from twotower_jax.data.drafts import draft_of
from twotower_jax.errors import InputError
from twotower_jax.run.folder import RunFolder, stored_config
from twotower_jax.run.loader import trains
from twotower_jax.training.checkpoint import PLACE, Checkpoints, check_place

# Each with the value that it has where it is not given.
KEYS = {"training.devices": 1, "training.mesh.data": None, "training.mesh.table": 1}
WORDS = ", ".join(f"{key}=N" for key in KEYS)


class Remeshed(NamedTuple):
    """A folder from which a training goes on."""

    folder: Path  # of the run with the other mesh
    step: int  # of its last state
    damaged: tuple[str, ...]  # why states of the earlier folder were left out
    words: list[str]  # ``key=value`` that give the mesh in a command of that run


def remesh(folder: Path, words: list[str]) -> Remeshed:
    """Copy an interrupted run to the folder of the same run with another mesh.

    Checkpoints are of any mesh: the training that goes on restores them into its own.
    The words are ``key=value`` of `KEYS`. The interrupted run stays as it is.
    """
    before, record = stored_config(folder), RunFolder(folder)
    config = with_mesh(before, words)
    data, table = config.training.mesh_shape
    mesh = f"training.mesh.data={data} training.mesh.table={table}"
    if record.is_done():
        raise InputError(
            f"{folder} has finished: evaluate and export read it on one device, "
            "and training.start_from= takes its parameters on any mesh"
        )
    if before.training.mesh_shape == (data, table):
        raise InputError(
            f"{folder} has {mesh} already; its command goes on, or give {WORDS}"
        )
    if not trains(config) or not Checkpoints(folder).steps():
        raise InputError(
            f"{folder} has no checkpoint yet; train from the start with {mesh}"
        )
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
        # Command, device and mesh in the manifest stay those of the steps so far: the
        # training that goes on writes them under ``earlier``.
        made, copy = record.read("manifest") or {}, RunFolder(draft)
        copy.write_config(config)
        copy.write("manifest", made | {"config_fingerprint": fingerprint(config)})
        copy.set_status("running", f"goes on from a state of {folder}")
    given = {word.partition("=")[0] for word in words}
    training = before.training
    had = (training.devices, training.mesh.data, training.mesh.table)
    reset = [
        f"{key}={now or 'null'}"
        for (key, now), was in zip(KEYS.items(), had, strict=True)
        if key not in given and was != now
    ]
    return Remeshed(target, steps[-1], damaged, [*words, *reset])


def with_mesh(config: Config, words: list[str]) -> Config:
    """Return a configuration with another mesh; keys not given have their defaults.

    Examples:
      >>> with_mesh(Config(), ["training.mesh.table=2"]).training.mesh_shape
      (1, 2)
    """
    mesh = dict(KEYS)
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
    devices, data, table = mesh.values()
    values["training"] |= {"devices": devices, "mesh": {"data": data, "table": table}}
    return from_record(values)
