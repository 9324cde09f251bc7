"""Keys of a training, beside its numbers, that lower the memory that it needs."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from twotower_jax.data.processes import alone
from twotower_jax.data.shards import MOST_SHARDS
from twotower_jax.run.memory_numbers import with_value
from twotower_jax.run.memory_spaces import Case

# Optimizers of conf/optimizer with ever less memory.
OPTIMIZERS = ("adam_dense", "adam", "adagrad")


class Switch(NamedTuple):
    """Words of the command line, and the training that they make.

    Attributes:
      words: keys and values.
      apply: returns the training with them.
      note: what else is needed for them, in words.
    """

    words: str
    apply: Callable[[Case], Case]
    note: str = ""


def mild_switches(case: Case) -> list[list[Switch]]:
    """Return what changes no bits of a training, or its order alone.

    Args:
      case: the training.

    Returns:
      Groups, of each of which one switch may be applied: where the positives lie,
      their order, the mesh of the devices that are there, the log on disk.
    """
    config = case.config
    groups = []
    if config.training.feed != "host":
        groups.append([_switch({"training.feed": "host"})])
    sequences = config.towers.history_pooling == "transformer"
    plain = config.positives.strategy == "none" and not sequences
    if config.training.order == "shuffled" and plain:
        groups.append([_switch({"training.order": "blocks"})])
    if meshes := _present_meshes(case):
        groups.append(meshes)
    if config.data.source != "prepared" and config.positives.lists.path is None:
        words = "data=prepared data.path=FOLDER"
        prepared = _switch({"data.source": "prepared"}, words)
        note = "FOLDER is made by twotower data prepare --out FOLDER"
        groups.append([prepared._replace(note=note)])
    return groups


def other_switches(case: Case) -> list[list[Switch]]:
    """Return what needs more devices than there are, or trains another model.

    Args:
      case: the training.

    Returns:
      Groups, of each of which one switch may be applied: optimizer, and mesh of more
      devices.
    """
    name, groups = case.config.optimizer.name, []
    if name in OPTIMIZERS:
        less = OPTIMIZERS[OPTIMIZERS.index(name) + 1 :]
        groups.append([_optimizer(one) for one in less])
    return [group for group in (*groups, _larger_meshes(case)) if group]


def _switch(values: dict[str, Any], words: str = "") -> Switch:
    """Return a switch of some keys."""
    text = words or " ".join(f"{key}={value}" for key, value in values.items())
    return Switch(text, partial(_changed, values=values))


def _changed(case: Case, values: dict[str, Any]) -> Case:
    """Return a training with other values of keys."""
    config = case.config
    for key, value in values.items():
        config = with_value(config, key, value)
    return case._replace(config=config)


def _optimizer(name: str) -> Switch:
    """Return the switch to an optimizer, whose file sets its learning rate too."""
    return _switch({"optimizer.name": name}, f"optimizer={name}")


def _present_meshes(case: Case) -> list[Switch]:
    """Return meshes that spread tables over more of the devices that are there."""
    data, table = case.config.training.mesh_shape
    present = jax.device_count()
    # Processes that are joined have a mesh of all devices.
    totals = {data * table, present} if alone() else {present}
    shapes = [
        (total // spread, spread)
        for total in sorted(totals)
        for spread in range(table + 1, min(total, MOST_SHARDS) + 1)
        if total % spread == 0
    ]
    return _meshes(case, shapes)


def _larger_meshes(case: Case) -> list[Switch]:
    """Return meshes of more devices than there are, with one copy of the tables."""
    own, present = jax.local_devices(), jax.device_count()
    if alone() and own[0].platform == "cpu":
        return []  # they would lie in the same memory
    table, step = case.config.training.mesh_shape[1], 1 if alone() else len(own)
    found, spread = [], 2
    while spread <= MOST_SHARDS:
        if spread > max(present, table) and spread % step == 0:
            note = f"on {spread} devices, of which jax sees {present}"
            meshes = _meshes(case, [(1, spread)])
            found += [one._replace(note=note) for one in meshes]
        spread *= 2
    return found


def _meshes(case: Case, shapes: list[tuple[int, int]]) -> list[Switch]:
    """Return switches to meshes, of those that divide the batch."""
    training, found = case.config.training, []
    for data, table in shapes:
        devices = data * table
        if training.batch_size % devices:
            continue
        values = {"training.mesh.data": data, "training.mesh.table": table}
        if training.devices not in (1, devices):
            values["training.devices"] = devices
        found.append(_switch(values))
    return found
