"""Trainings that need more memory than the machine has are refused by name.

The shape of a training gives the bytes of its parts; a message names the key that asks
for most of them, and keys with which the training fits.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import jax
import numpy as np

from twotower_jax.config import Config
from twotower_jax.cost.memory import HOST, Part, memory_parts, shared_bytes
from twotower_jax.cost.shape import Extras, Shape
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.processes import alone
from twotower_jax.data.shards import MOST_SHARDS
from twotower_jax.data.sizes import Sizes, feature_bytes
from twotower_jax.errors import InputError
from twotower_jax.model.specs import make_model
from twotower_jax.negatives import Funnel, Mined
from twotower_jax.negatives.columns import (
    distinct_number,
    merged_size,
    merged_size_of_arms,
)
from twotower_jax.optimizers import OPTIMIZERS
from twotower_jax.run.plan import positive_weights
from twotower_jax.run.positives import as_prepared
from twotower_jax.run.problem import make_structure, streaming_of
from twotower_jax.run.tower_features import features_of_sizes
from twotower_jax.training.types import Structure

HOST_ROOM = "this host has {} GiB"
# Keys that decide the memory, each with its least value.
KEYS = {
    "towers.dim": 1,
    "towers.hidden": 1,
    "towers.history_length": 1,
    "negatives.easy.num": 0,
    "negatives.bank.size": 0,
    "negatives.hard.num": 0,
    "negatives.hard.candidate_num": 2,
    "training.batch_size": 2,
    "training.steps_per_dispatch": 1,
}
# Sizes of a log that is described on the command line, by their options.
OPTIONS = {"num_users": "--users", "num_items": "--items", "positives": "--positives"}
# Optimizers with ever less memory.
LEANER = ("adam_dense", "adam", "adagrad")
# Remedies that a message names, each of which is enough.
MOST = 4
NONE = (
    "lower several keys: no value of one of them would fit, not even beside another "
    "feed, order, mesh and optimizer"
)


# --- the shape of a training ----------------------------------------------------------


def training_shape(config: Config, sizes: Sizes) -> Shape:
    """Return the shape of a training."""
    config = features_of_sizes(config, sizes)
    training, towers = config.training, config.towers
    structure = make_structure(
        config,
        make_model(towers, sizes),
        sizes.num_items,
        partial(_merged, config, sizes),
    )
    of_items = towers.candidate
    if "history" in towers.query:
        of_items = (*of_items, *towers.history_features)
    features = (
        feature_bytes(sizes.user_features, towers.query),
        feature_bytes(sizes.item_features, tuple(dict.fromkeys(of_items))),
    )
    shape = Shape(
        structure=structure,
        batch=training.batch_size,
        devices=math.prod(training.mesh_shape),
        steps_per_dispatch=training.steps_per_dispatch,
        users=sizes.num_users,
        positives=sizes.positives,
        seen=sizes.seen,
        log_rows=sizes.rows,
        feature_bytes=features,
        touched=0,
        extras=_extras(config, sizes, structure),
        shards=training.mesh_shape[1],
    )
    return shape._replace(touched=round(_distinct(sizes, shape.tokens)))


def _extras(config: Config, sizes: Sizes, structure: Structure) -> Extras:
    """Return the arrays that not every run has."""
    negatives, hard = structure.negatives, config.negatives.hard
    of_log = isinstance(hard, Funnel)
    window = hard.mined if isinstance(hard, Mined) and negatives.hard_num else None
    two_way = config.loss.two_way
    sampled = not config.loss.whole_catalogue
    return Extras(
        streaming=streaming_of(config, sizes.num_items),
        pool=min(hard.pool_size, sizes.pool or hard.pool_size) if of_log else 0,
        window=window.range_max - window.range_min if window else 0,
        reweighted=config.positives.reweight,
        weighted=config.positives.weight is not None
        or config.positives.lists.path is not None,
        known=config.negatives.available and sizes.timed and sampled,
        two_way=bool(two_way.weight),
        of_users=bool(two_way.weight) and two_way.correct == "users",
        timed_order=config.training.order == "time",
        blocks=config.training.order == "blocks",
        fed=config.training.feed == "host",
        mapped=config.data.source == "prepared",
        mapped_pools=as_prepared(config),
    )


def _merged(config: Config, sizes: Sizes, batch: int, drawn: int) -> int:
    """Return the number of merged columns; equal counts stand for unknown ones."""
    if sizes.counts is None:
        each = np.full(1, sizes.positives / sizes.num_items)
        return merged_size(each, batch, drawn, sizes.num_items)
    weights = positive_weights(config, sizes.counts)
    return merged_size_of_arms(sizes.counts, weights, batch, drawn)


def _distinct(sizes: Sizes, draws: int) -> float:
    """Return the expected number of distinct items among draws of positives."""
    if sizes.counts is None:
        return distinct_number(np.ones(1), draws, sizes.num_items).mean
    return distinct_number(sizes.counts, draws).mean


# --- memories -------------------------------------------------------------------------


class Case(NamedTuple):
    """A configuration and the sizes of its data, which decide the memory."""

    config: Config
    sizes: Sizes

    @property
    def shape(self) -> Shape:
        """Return the shape of the training."""
        return training_shape(self.config, self.sizes)


class Memory(NamedTuple):
    """A memory in which parts of a training lie."""

    what: str  # those parts together, in words
    room: str  # whose memory it is, in words with {} for its GiB
    size: int  # bytes that it has
    # Number of devices whose parts lie in it; None: all of the mesh.
    devices: int | None = None
    host: bool = True  # whether the parts of the host lie in it too

    def parts(self, shape: Shape) -> list[Part]:
        """Return the parts in it, each with the bytes of all its copies."""
        devices = shape.devices if self.devices is None else self.devices
        return [
            Part(part.name, shared_bytes([part], devices), part.place)
            for part in memory_parts(shape)
            if self.host or part.place != HOST
        ]

    def needed(self, shape: Shape) -> int:
        """Return the bytes of the parts in it."""
        return sum(part.size for part in self.parts(shape))


def find_memories(ram: int, mesh_devices: int) -> list[Memory]:
    """Return the memories that a training needs on the host of this process.

    Devices of a CPU lie in the memory of the host. A process that is joined to others
    counts its own devices and its own copy of the host's parts: two processes on one
    host are not counted together.
    """
    own = jax.local_devices()
    if own[0].platform != "cpu":
        host = Memory("the host's part of the training", HOST_ROOM, ram, 0)
        return [*_of_device(own[:mesh_devices]), host]
    if alone():
        return [Memory("the whole training", "this machine has {} GiB", ram)]
    number = min(mesh_devices, len(own))
    what = f"the part of this process ({number} of {mesh_devices} devices)"
    return [Memory(what, HOST_ROOM, ram, number)]


def _of_device(devices: list[Any]) -> list[Memory]:
    """Return the memory of the smallest device, [] where none is known."""
    sizes = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [size for size in sizes if size]
    if not known:
        return []
    room = f"jax may use {{}} GiB of each device ({devices[0].device_kind})"
    return [Memory("the training on each device", room, min(known), 1, host=False)]


def lacking(case: Case, memories: list[Memory]) -> int:
    """Return the bytes that are lacking in all memories together; 0: it fits."""
    shape = case.shape
    return sum(max(0, memory.needed(shape) - memory.size) for memory in memories)


# --- numbers that may be lowered ------------------------------------------------------


class Number(NamedTuple):
    """A number that may be lowered."""

    name: str  # its key or option
    word: str  # the same with its value
    least: int
    value: int  # the present one, the largest of widths
    lowered: Callable[[int], Case]  # returns the training with another value
    written: Callable[[int], Any]  # returns that value as it is written

    def largest(self, fits: Callable[[Case], bool]) -> int | None:
        """Return the largest value that fits, None where the least one does not."""
        low, high = self.least, self.value
        if not fits(self.lowered(low)):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            enough = fits(self.lowered(middle))
            low, high = (middle, high) if enough else (low, middle)
        return low


def find_numbers(case: Case, options: bool) -> list[Number]:
    """Return the numbers of a training that may be lowered."""
    return [*_keys(case), *(_options(case) if options else ())]


def with_value(config: Config, key: str, value: Any) -> Config:
    """Return a configuration with another value of a key, whose rules are not checked.

    Examples:
      >>> with_value(Config(), "towers.dim", 3).towers.dim
      3
    """
    *sections, last = key.split(".")
    config = part = copy.copy(config)
    for name in sections:
        child = copy.copy(getattr(part, name))
        setattr(part, name, child)
        part = child
    setattr(part, last, value)
    return config


def _keys(case: Case) -> Iterator[Number]:
    """Yield the numbers that are keys."""
    for key, least in KEYS.items():
        value = attrgetter(key)(case.config)
        if not value or (isinstance(value, int) and value <= least):
            continue

        def lowered(number: int, key: str = key, value: Any = value) -> Case:
            cut = _cut(value, number)
            cut = tuple(cut) if isinstance(cut, list) else cut
            return case._replace(config=with_value(case.config, key, cut))

        def written(number: int, value: Any = value) -> Any:
            return _cut(value, number)

        shown = list(value) if isinstance(value, tuple) else value
        most = max(value) if isinstance(value, tuple) else value
        yield Number(key, f"{key}={shown}", least, most, lowered, written)


def _options(case: Case) -> Iterator[Number]:
    """Yield the numbers that are options of the command line."""
    for name, option in OPTIONS.items():
        value = getattr(case.sizes, name)

        def lowered(number: int, name: str = name) -> Case:
            changed = {name: number}
            if name == "positives":
                changed |= {"seen": number, "rows": number}
            return case._replace(sizes=case.sizes._replace(**changed))

        yield Number(option, f"{option} {value}", 1, value, lowered, int)


def _cut(value: Any, number: int) -> Any:
    """Return a value lowered to a number; of widths, those above it.

    Examples:
      >>> _cut(9, 4), _cut((64, 128), 100)
      (4, [64, 100])
    """
    if isinstance(value, tuple):
        return [min(width, number) for width in value]
    return number


# --- other values of keys -------------------------------------------------------------


class Switch(NamedTuple):
    """Other values of keys, as words of the command line, and what else they need."""

    values: dict[str, Any]
    words: str
    note: str = ""

    def apply(self, case: Case) -> Case:
        """Return the training with these values."""
        config = case.config
        for key, value in self.values.items():
            config = with_value(config, key, value)
        return case._replace(config=config)


def mild_switches(case: Case) -> list[list[Switch]]:
    """Return groups of switches that change no bits of a training, or its order alone.

    Of each group one switch may be applied.
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
        note = "FOLDER is made by twotower data prepare --out FOLDER"
        groups.append([Switch({"data.source": "prepared"}, words, note)])
    return groups


def other_switches(case: Case) -> list[list[Switch]]:
    """Return what needs more devices than there are, or trains another model."""
    name, groups = case.config.optimizer.name, []
    if name in LEANER:
        others = LEANER[LEANER.index(name) + 1 :]
        groups.append(
            [Switch({"optimizer": OPTIMIZERS[n]()}, f"optimizer={n}") for n in others]
        )
    return [group for group in (*groups, _larger_meshes(case)) if group]


def _switch(values: dict[str, Any], note: str = "") -> Switch:
    words = " ".join(f"{key}={value}" for key, value in values.items())
    return Switch(values, words, note)


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
    switches, spread = [], 2
    while spread <= MOST_SHARDS:
        if spread > max(present, table) and spread % step == 0:
            note = f"on {spread} devices, of which jax sees {present}"
            switches += _meshes(case, [(1, spread)], note)
        spread *= 2
    return switches


def _meshes(case: Case, shapes: list[tuple[int, int]], note: str = "") -> list[Switch]:
    """Return switches to meshes, of those that divide the batch."""
    training, switches = case.config.training, []
    for data, table in shapes:
        devices = data * table
        if training.batch_size % devices:
            continue
        values = {"training.mesh.data": data, "training.mesh.table": table}
        if training.devices not in (1, devices):
            values["training.devices"] = devices
        switches.append(_switch(values, note))
    return switches


# --- remedies -------------------------------------------------------------------------


class Remedies:
    """Finds what makes a training fit, by the memory that it then needs."""

    def __init__(self, case: Case, memories: list[Memory]):
        self._case, self._memories = case, memories

    def text(self, number: Number | None) -> str:
        """Return the remedies in words; each of them is enough by itself."""
        lower = []
        if number is not None and (value := number.largest(self._fits)) is not None:
            lower.append(f"lower it to {number.written(value)} or less")
        every = mild_switches(self._case) + other_switches(self._case)
        singles = [switch for group in every if (switch := self._first(group))]
        # More devices are not asked for where those that are there are enough.
        meshes = [switch for switch in singles if "training.mesh.table" in switch.words]
        switches = [_set([switch]) for switch in singles if switch not in meshes[1:]]
        if not switches:
            switches = self._several(lower=not lower)
        return ", or ".join([*lower, *switches][:MOST]) or NONE

    def _lacking(self, case: Case) -> int:
        return lacking(case, self._memories)

    def _fits(self, case: Case) -> bool:
        return self._lacking(case) == 0

    def _needed(self, case: Case) -> int:
        """Return the bytes that all memories together need."""
        shape = case.shape
        return sum(memory.needed(shape) for memory in self._memories)

    def _first(self, group: list[Switch]) -> Switch | None:
        """Return the first switch with which it fits."""
        fitting = (switch for switch in group if self._fits(switch.apply(self._case)))
        return next(fitting, None)

    def _several(self, lower: bool) -> list[str]:
        """Return several switches with which it fits together, [] for none."""
        mild = mild_switches(self._case)
        for groups in (mild, mild + other_switches(self._case)):
            case, chosen = self._together(groups)
            if self._fits(case):
                return [_set(self._needed_ones(chosen, self._case))]
            if lower and (text := self._lowered(case, chosen)):
                return [text]
        return []

    def _together(self, groups: list[list[Switch]]) -> tuple[Case, list[Switch]]:
        """Return the training with the best switch of each group, and the switches."""
        case, chosen = self._case, []
        for group in groups:
            least, best = self._lacking(case), None
            for switch in group:
                if not least:
                    break  # the first that fits
                if (bytes_lacking := self._lacking(switch.apply(case))) < least:
                    least, best = bytes_lacking, switch
            if best is not None:
                case, chosen = best.apply(case), [*chosen, best]
        return case, chosen

    def _lowered(self, case: Case, chosen: list[Switch]) -> str:
        """Return switches and the number to lower beside them, "" where none fits."""
        numbers = find_numbers(case, options=False)
        if not numbers:
            return ""
        number = min(numbers, key=lambda n: self._needed(n.lowered(n.least)))
        value = number.largest(self._fits)
        if value is None:
            return ""
        here = {n.name: n for n in find_numbers(self._case, options=False)}
        kept = self._needed_ones(chosen, here[number.name].lowered(value))
        lower = f"lower {number.name} to {number.written(value)} or less"
        return f"{_set(kept)} and {lower}" if kept else lower

    def _needed_ones(self, chosen: list[Switch], case: Case) -> list[Switch]:
        """Return the switches without those that a training fits without."""
        for switch in chosen:
            rest = [other for other in chosen if other is not switch]
            applied = case
            for other in rest:
                applied = other.apply(applied)
            if self._fits(applied):
                chosen = rest
        return chosen


def _set(switches: list[Switch]) -> str:
    """Return switches in words."""
    notes = [switch.note for switch in switches if switch.note]
    text = "set " + " ".join(switch.words for switch in switches)
    return f"{text} ({', '.join(notes)})" if notes else text


# --- the check ------------------------------------------------------------------------


def check_memory(config: Config, sizes: Sizes) -> None:
    """Refuse a training that needs more memory than the machine or its devices have."""
    if (reason := excess(config, sizes)) is not None:
        raise InputError(reason)


def excess(config: Config, sizes: Sizes, *, options: bool = False) -> str | None:
    """Return by how much a training exceeds the memory of this host or its devices.

    The message names the first memory that is too small, the key that asks for most,
    which is the one whose least value saves most, and values with which it fits. A part
    of the memory is named instead where no key saves half of it. With ``options`` the
    sizes are options of the command line, which it may name. None for what fits.
    """
    # Counts of items decide the work, not the memory.
    case = Case(config, sizes._replace(counts=None))
    shape = case.shape
    memories = find_memories(machine_memory(), shape.devices)
    memory = next((m for m in memories if m.needed(shape) > m.size), None)
    if memory is None:
        return None
    number, needs = _largest_number(case, memory, options)
    part = max(memory.parts(shape), key=lambda part: part.size)
    if 2 * needs < part.size:
        number, needs = None, part.size
    word = f"the part '{part.name}'" if number is None else number.word
    room = memory.room.replace("{}", _gib(memory.size))
    total = _gib(memory.needed(shape))
    remedy = Remedies(case, memories).text(number)
    return (
        f"{word} needs {_gib(needs)} GiB, and {memory.what} {total} GiB; {room}; "
        f"{remedy}"
    )


def _largest_number(
    case: Case, memory: Memory, options: bool
) -> tuple[Number | None, int]:
    """Return the number whose least value saves most, and the bytes that it saves."""
    total, best, saved = memory.needed(case.shape), None, 0
    for number in find_numbers(case, options):
        less = total - memory.needed(number.lowered(number.least).shape)
        if less > saved:
            best, saved = number, less
    return best, saved


def _gib(size: int) -> str:
    """Return bytes in GiB, with a digit behind the point below 10."""
    value = size / GIB
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
