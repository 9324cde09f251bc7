"""Trainings that need more memory than the machine has are refused by name.

A message names the key that asks for most of the memory, and values with which the
training fits.
"""

import itertools
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import jax

from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import all_values
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.processes import alone
from twotower_jax.data.shards import MOST_SHARDS
from twotower_jax.data.sizes import Sizes
from twotower_jax.errors import InputError
from twotower_jax.optimizers import OPTIMIZERS
from twotower_jax.run.footprint import Footprint, Part, with_value

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
OPTIONS = {"--users": "num_users", "--items": "num_items", "--positives": "positives"}
TEMPORARIES = "temporaries of a step"
# Optimizers with ever less memory.
LEANER = ("adam_dense", "adam", "adagrad")
# Remedies that a message names, each of which is enough.
MOST = 4
TRIALS = 4  # compiled steps, until a value fits
NONE = (
    "lower several keys: no value of one of them would fit, not even beside another "
    "feed, order, mesh and optimizer"
)


class Memory(NamedTuple):
    """A memory in which parts of a training lie."""

    what: str  # those parts together, in words
    room: str  # whose memory it is, in words with {} for its GiB
    size: int  # bytes that it has
    devices: int  # whose parts lie in it
    host: bool = True  # whether the parts of the host lie in it too

    def parts(self, parts: list[Part]) -> list[Part]:
        """Return the parts that lie in it, each with the bytes of all its copies."""
        copies = {True: int(self.host), False: self.devices}
        return [
            Part(part.name, copies[part.host] * part.size, part.host) for part in parts
        ]

    def needed(self, parts: list[Part]) -> int:
        """Return the bytes of the parts that lie in it."""
        return sum(part.size for part in self.parts(parts))


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
        room = "this machine has {} GiB"
        return [Memory("the whole training", room, ram, mesh_devices)]
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


def check_memory(config: Config, sizes: Sizes) -> None:
    """Refuse a training that needs more memory than the machine or its devices have."""
    if (reason := excess(Footprint(config, sizes))) is not None:
        raise InputError(reason)


def excess(footprint: Footprint, *, options: bool = False) -> str | None:
    """Return by how much a training exceeds the memory of this host or its devices.

    The message names the first memory that is too small, the key that asks for most,
    which is the one whose least value saves most, and values with which it fits. A part
    of the memory is named instead where no key saves half of it. With ``options`` the
    sizes are options of the command line, which it may name. None for what fits.

    A step is compiled only where its arguments fit, and all that it computes does not.
    """
    parts, temporaries, scale = footprint.parts(), 0, 0.0
    memories = find_memories(machine_memory(), footprint.mesh.devices)
    if _fits(memories, parts):
        if _fits(memories, [*parts, Part(TEMPORARIES, footprint.most_temporaries)]):
            return None
        temporaries = footprint.temporaries
        scale = temporaries / max(1, footprint.computed_bytes())
        parts.append(Part(TEMPORARIES, temporaries))
        if _fits(memories, parts):
            return None
    memory = next(m for m in memories if m.needed(parts) > m.size)
    return _Refusal(footprint, memories, memory, parts, scale, options).text()


def _fits(memories: list[Memory], parts: list[Part]) -> bool:
    return all(memory.needed(parts) <= memory.size for memory in memories)


class _Number(NamedTuple):
    """A number that may be lowered: a key, or an option of the command line."""

    name: str
    word: str  # with its present value
    least: int
    value: int  # the present one, the largest of widths


class _Refusal:
    """A training that does not fit, and what would.

    Temporaries of other values are estimated: they change like the arrays that a step
    computes, of which ``scale`` is the share that XLA allocates, 0 as long as no step
    is compiled: the arguments alone are too large.
    """

    def __init__(
        self,
        footprint: Footprint,
        memories: list[Memory],
        memory: Memory,
        parts: list[Part],
        scale: float,
        options: bool,
    ):
        self._case, self._memories, self._memory = footprint, memories, memory
        self._parts, self._scale, self._options = parts, scale, options

    def text(self) -> str:
        """Return the message."""
        part = max(self._memory.parts(self._parts), key=lambda part: part.size)
        total, saved = self._memory.needed(self._parts), {}
        for number in self._numbers():
            least = self._estimated(self._lowered(number, number.least))
            saved[number] = total - self._memory.needed(least)
        number = max(saved, key=lambda number: saved[number], default=None)
        if number is None or 2 * saved[number] < part.size:
            word, size, lower = f"the part '{part.name}'", part.size, []
        else:
            word, size, lower = number.word, saved[number], self._lower(number)
        remedies = [*lower, *self._switches()][:MOST]
        room = self._memory.room.replace("{}", _gib(self._memory.size))
        return (
            f"{word} needs {_gib(size)} GiB, and {self._memory.what} {_gib(total)} "
            f"GiB; {room}; {', or '.join(remedies) or NONE}"
        )

    def _estimated(self, case: Footprint) -> list[Part]:
        """Return the parts of a training with other values."""
        size = round(self._scale * case.computed_bytes()) if self._scale else 0
        return [*case.parts(), Part(TEMPORARIES, size)]

    # --- numbers that may be lowered --------------------------------------------------

    def _numbers(self) -> Iterator[_Number]:
        """Yield the keys above their least value, and the options."""
        values = all_values(to_dict(self._case.config))
        for key, least in KEYS.items():
            if key not in values:  # of another choice
                continue
            value, step = self._value(key), self._step(key)
            least = step * -(-least // step)
            most = max(value, default=0) if isinstance(value, tuple) else value
            if most and most > least:
                shown = list(value) if isinstance(value, tuple) else value
                yield _Number(key, f"{key}={shown}", least, most)
        for option in OPTIONS if self._options else ():
            value = self._value(option)
            yield _Number(option, f"{option} {value}", 1, value)

    def _value(self, name: str) -> Any:
        if name in OPTIONS:
            return getattr(self._case.sizes, OPTIONS[name])
        return attrgetter(name)(self._case.config)

    def _step(self, name: str) -> int:
        """Return the divisor of a number: the devices that share a batch."""
        return self._case.mesh.devices if name == "training.batch_size" else 1

    def _lowered(self, number: _Number, to: int) -> Footprint:
        """Return the training with another value of a number."""
        config, sizes, name = self._case.config, self._case.sizes, number.name
        if name in OPTIONS:
            changed = {OPTIONS[name]: to}
            if name == "--positives":
                changed |= {"seen": to, "rows": to}
            return Footprint(config, sizes._replace(**changed))
        value = _cut(self._value(name), self._step(name), to)
        return Footprint(with_value(config, name, value), sizes)

    def _lower(self, number: _Number) -> list[str]:
        """Return [the remedy to lower a number], [] where its least value is much."""
        value: int | None = number.value
        for _ in range(TRIALS):
            if (value := self._largest(number, value)) is None:
                return []
            case = self._lowered(number, value)
            if case.mesh.devices > jax.device_count() or self._compiled_fits(case):
                cut = _cut(self._value(number.name), self._step(number.name), value)
                shown = list(cut) if isinstance(cut, tuple) else cut
                return [f"lower it to {shown} or less"]
        return []

    def _compiled_fits(self, case: Footprint) -> bool:
        """Return whether a training fits; later estimates are scaled like this one."""
        self._scale = case.temporaries / max(1, case.computed_bytes())
        return _fits(self._memories, self._estimated(case))

    def _largest(self, number: _Number, high: int) -> int | None:
        """Return about the largest value up to high that fits by estimate, or None.

        Bytes are nearly linear in it, so that few trials are enough.
        """
        low = number.least
        room, lack = (
            -self._lacking(self._lowered(number, value)) for value in (low, high)
        )
        if room < 0 or lack >= 0:
            return high if lack >= 0 else None
        turn = 0
        # Each trial takes a trace, but where the arguments alone decide.
        while high - low > (max(1, low // 50) if self._scale else 1):
            share = 0.5 if turn % 3 == 2 else room / max(1, room - lack)
            middle = min(max(low + int((high - low) * share), low + 1), high - 1)
            left = -self._lacking(self._lowered(number, middle))
            if left >= 0:
                low, room = middle, left
            else:
                high, lack = middle, left
            turn += 1
        return low

    def _lacking(self, case: Footprint) -> int:
        """Return the bytes that the smallest memory lacks; less than 0: it fits."""
        parts = self._estimated(case)
        return max(memory.needed(parts) - memory.size for memory in self._memories)

    # --- other values of keys ---------------------------------------------------------

    def _switches(self) -> list[str]:
        """Return other values of keys, each of which is enough, or pairs of them."""
        groups = list(self._groups())
        singles = [text for group in groups if (text := self._first(group))]
        if singles:
            return singles
        for first, second in itertools.combinations(groups, 2):
            pairs = [
                (values | others, ", ".join(filter(None, (note, other_note))))
                for values, note in first
                for others, other_note in second
            ]
            if text := self._first(pairs):
                return [text]
        return []

    def _first(self, group: list[tuple[dict[str, Any], str]]) -> str | None:
        """Return the first values of a group that are enough, in words."""
        for values, note in group:
            if self._applied_fits(values):
                words = " ".join(f"{key}={value}" for key, value in values.items())
                return f"set {words}{f' ({note})' if note else ''}"
        return None

    def _applied_fits(self, values: dict[str, Any]) -> bool:
        config = self._case.config
        for key, value in values.items():
            if key == "optimizer":
                value = OPTIMIZERS[value]()
            if key != "data":
                config = with_value(config, key, value)
        if "data" in values:
            config = with_value(config, "data.source", "prepared")
        case = Footprint(config, self._case.sizes)
        if not _fits(self._memories, case.parts()):
            return False
        there = case.mesh.devices <= jax.device_count()
        size = (case if there else self._case).temporaries
        return _fits(self._memories, [*case.parts(), Part(TEMPORARIES, size)])

    def _groups(self) -> Iterator[list[tuple[dict[str, Any], str]]]:
        """Yield groups of values with notes, of which the first that fits is named."""
        config = self._case.config
        if config.training.feed != "host":
            yield [({"training.feed": "host"}, "")]
        sequences = config.towers.history_pooling == "transformer"
        plain = config.positives.strategy == "none" and not sequences
        if config.training.order == "shuffled" and plain:
            yield [({"training.order": "blocks"}, "")]
        yield self._meshes()
        if config.data.source != "prepared" and config.positives.lists.path is None:
            note = "FOLDER is made by twotower data prepare --out FOLDER"
            yield [({"data": "prepared", "data.path": "FOLDER"}, note)]
        name = config.optimizer.name
        leaner = LEANER[LEANER.index(name) + 1 :] if name in LEANER else ()
        yield [({"optimizer": other}, "") for other in leaner]

    def _meshes(self) -> list[tuple[dict[str, Any], str]]:
        """Return meshes over whose devices the tables are spread further.

        Those of more devices than there are have no copies of the tables.
        """
        training, present = self._case.config.training, jax.device_count()
        data, table = training.mesh_shape
        total = data * table if alone() else present
        shapes = [(total // k, k) for k in range(table + 1, total + 1) if not total % k]
        more = [2**k for k in range(1, 13) if 2**k > max(present, table)]
        if not alone() or jax.local_devices()[0].platform != "cpu":
            shapes += [(1, spread) for spread in more if spread <= MOST_SHARDS]
        meshes = []
        for data, table in shapes:
            devices = data * table
            if training.batch_size % devices or devices % len(jax.local_devices()):
                continue
            values = {"training.mesh.data": data, "training.mesh.table": table}
            if training.devices not in (1, devices):
                values["training.devices"] = devices
            note = f"on {devices} devices, of which jax sees {present}"
            meshes.append((values, note if devices > present else ""))
        return meshes


def _cut(value: Any, step: int, number: int) -> Any:
    """Return a value lowered to a multiple of a step; of widths, those above it.

    Examples:
      >>> _cut(9, 2, 5), _cut((64, 128), 1, 100)
      (4, (64, 100))
    """
    if isinstance(value, tuple):
        return tuple(min(width, number) for width in value)
    return step * (number // step)


def _gib(size: int) -> str:
    """Return bytes in GiB, with a digit behind the point below 10."""
    value = size / GIB
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
