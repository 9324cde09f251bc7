"""The memory of a training before its first state; one that does not fit is refused."""

import math
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from twotower_jax.arrays.processes import alone
from twotower_jax.arrays.shards import DATA, TABLE, by_rows, stored_rows
from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import all_values
from twotower_jax.data.block_order import BLOCK, WINDOW
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.errors import InputError
from twotower_jax.run.positives import as_prepared
from twotower_jax.training.mesh import Layout, make_mesh, whole
from twotower_jax.training.problem import Problem
from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState

# Bytes of a row of a log in memory, and of a positive of a part: their columns.
LOG_ROW, PART_ROW = 29, 24
TEMPORARIES = "temporaries of a step"
SHOWN = 3  # parts, and keys, that a refusal names
TABLES = "spread the tables over more devices (training.mesh.table)"
FEED = "set training.feed=host"
LESS_STATE = "take an optimizer with less state (adagrad, sgd)"
# By the beginning of a part's name: the keys that ask for it, and what else helps.
ASKED_BY: dict[str, tuple[str, ...]] = {
    "table": ("towers.dim", TABLES),
    "optimizer state of the tables": ("towers.dim", LESS_STATE, TABLES),
    "layers": ("towers.hidden", "towers.dim"),
    "optimizer state of the layers": ("towers.hidden", "towers.dim"),
    "samplers: bank": ("negatives.bank.size", "towers.dim"),
    "positives": (FEED,),
    "histories": ("towers.history_length", FEED),
    "pools of hard negatives": ("negatives.hard.pool_size", FEED),
    "batches": ("training.steps_per_dispatch", "training.batch_size"),
    "order": ("set training.order=blocks",),
    "log": ("set data=prepared (twotower data prepare makes the folder)",),
    TEMPORARIES: (
        *("training.batch_size", "negatives.easy.num", "negatives.bank.size"),
        *("negatives.hard.num", "negatives.hard.candidate_num"),
        *("towers.hidden", "towers.dim"),
    ),
}


def asked_by(name: str) -> tuple[str, ...]:
    """Return the keys that ask for a part, and what else makes it smaller."""
    return next((ASKED_BY[part] for part in ASKED_BY if name.startswith(part)), ())


class Part(NamedTuple):
    """A part of the memory of a training: of each device, or of the host."""

    name: str
    size: int
    host: bool = False


class Room(NamedTuple):
    """A memory in which parts of a training lie."""

    what: str  # those parts together, in words
    owner: str  # whose memory it is and its size, in words
    size: int  # bytes that it has
    devices: int  # whose parts lie in it
    host: bool  # whether the parts of the host lie in it too

    def bytes_of(self, part: Part) -> int:
        """Return the bytes of all copies of a part that lie in it."""
        return part.size * (self.host if part.host else self.devices)

    def needed(self, parts: list[Part]) -> int:
        """Return the bytes of all copies of the parts that lie in it."""
        return sum(map(self.bytes_of, parts))


def find_rooms(mesh_devices: int) -> list[Room]:
    """Return the memories that a training needs on the host of this process."""
    own, ram = jax.local_devices(), machine_memory()
    host, size = f"this host has {gib(ram)} GiB", ram
    if own[0].platform == "cpu":  # devices of a CPU lie in the memory of the host
        if alone():
            machine = f"this machine has {gib(ram)} GiB"
            return [Room("the training", machine, ram, mesh_devices, True)]
        number = min(mesh_devices, len(own))
        what = f"the part of this process ({number} of {mesh_devices} devices)"
        return [Room(what, host, ram, number, True)]
    rooms = [Room("the host's part of the training", host, ram, 0, True)]
    limits = [(d.memory_stats() or {}).get("bytes_limit") for d in own[:mesh_devices]]
    if known := [limit for limit in limits if limit]:
        kind, size = own[0].device_kind, min(known)
        owner = f"jax may use {gib(size)} GiB of each device ({kind})"
        rooms.insert(0, Room("the training on each device", owner, size, 1, False))
    return rooms


def check_memory(config: Config, problem: Problem, log_rows: int) -> None:
    """Refuse a training that needs more memory than the machine or its devices have."""
    if (reason := excess(Footprint(config, problem, log_rows))) is not None:
        raise InputError(reason)


def excess(footprint: "Footprint") -> str | None:
    """Return what a training needs beyond a memory of this host, None where it fits."""
    parts, rooms = footprint.parts(), find_rooms(footprint.mesh.devices)

    def lacking(parts: list[Part]) -> Room | None:
        return next((room for room in rooms if room.needed(parts) > room.size), None)

    room = lacking(parts)
    # Compiled only where all that it computes would not fit.
    if not room and lacking([*parts, Part(TEMPORARIES, footprint.computed_bytes())]):
        parts.append(Part(TEMPORARIES, footprint.temporaries))
        room = lacking(parts)
    if room is None:
        return None
    total, values = room.needed(parts), all_values(to_dict(footprint.config))
    largest = sorted(parts, key=room.bytes_of, reverse=True)[:SHOWN]
    largest = [part for part in largest if room.bytes_of(part) > total / 20]
    asked = dict.fromkeys(word for part in largest for word in asked_by(part.name))
    keys = sorted(filter(values.get, asked), key=lambda key: -np.max(values[key]))
    remedies = [word for word in asked if " " in word]
    if room.devices and room.host and alone() and TABLES in remedies:
        remedies.remove(TABLES)  # all shards would lie in the same memory
    lower = ", ".join(f"{key}={values[key]}" for key in keys[:SHOWN])
    words = [*([f"lower {lower}"] if lower else []), *remedies]
    shares = ", ".join(f"{p.name} {gib(room.bytes_of(p))} GiB" for p in largest)
    return (
        f"{room.what} needs {gib(total)} GiB, and {room.owner}; "
        f"the largest parts: {shares}; {', or '.join(words) or 'take a smaller log'}"
    )


def gib(size: int) -> str:
    """Return bytes in GiB: "3.0", "1,024"."""
    value = size / GIB
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


# --- what a training needs ------------------------------------------------------------


class Footprint:
    """The memory of the training of a problem, whose state is not made."""

    def __init__(self, config: Config, problem: Problem, log_rows: int):
        self.config, self.problem, self.mesh = config, problem, problem.mesh
        self._log_rows = log_rows
        training = config.training
        self._batches = training.steps_per_dispatch, training.batch_size

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        """Shapes of the arguments of ``run_steps``, whose mesh needs no devices."""
        types = (AxisType.Auto,) * 2
        return self._arguments(AbstractMesh(tuple(self.mesh), (DATA, TABLE), types))

    def parts(self) -> list[Part]:
        """The memory without temporaries."""
        program, data, state, rows, _ = self.arguments
        fed = 2 if self.problem.on_host else 1  # one is made while another runs
        params = state.params
        histories = (data.queries.begin, data.queries.end)
        on_device = {
            **{f"table {name}": table for name, table in params["tables"].items()},
            "optimizer state of the tables": state.opt_state["tables"],
            "layers": {name: params[name] for name in params if name != "tables"},
            "optimizer state of the layers": state.opt_state["dense"],
            **{f"samplers: {name}": kept for name, kept in state.samplers.items()},
            "distributions of items and users": program,
            "positives": fed * [data.queries.user, data.item, data.weight],
            "histories": [*fed * histories, data.entities.history],
            "features": [data.entities.query, data.entities.candidate],
            "pools of hard negatives": [*fed * [data.pools], data.hard],
            "positives of each user": data.positives,
            "known items": data.known,
            "batches of a dispatch": [rows, rows],
        }
        parts = [Part(name, _bytes(tree)) for name, tree in on_device.items()]
        positives, order = len(self.problem.data.item), self.config.training.order
        ordered = min(positives, BLOCK * WINDOW if order == "blocks" else positives)
        # Two epochs of rows and a third.
        row = 16 + 8 * (order == "time")
        parts.append(Part("order of the positives", row * ordered, True))
        if not as_prepared(self.config):  # whose pages are those of files
            log = LOG_ROW * self._log_rows + PART_ROW * positives
            parts.append(Part("log", log, True))
            if self.problem.on_host:
                arrays = jax.tree.leaves(self.problem.data.pools)
                size = sum(array.nbytes for array in arrays)
                parts.append(Part("pools of hard negatives on the host", size, True))
        return [part for part in parts if part.size]

    def computed_bytes(self) -> int:
        """Bytes of every array that a step computes, as if none were ever freed."""
        return _computed(self._traced().jaxpr)

    @cached_property
    def temporaries(self) -> int:
        """Bytes that XLA allocates on each device beside the arguments."""
        memory: Any = self._traced().lower().compile().memory_analysis()
        made = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return memory.temp_size_in_bytes + max(0, made)

    def _traced(self) -> Any:
        """Return the step as the training traces it, whose program it then finds."""
        mesh = make_mesh(self.mesh)
        with jax.set_mesh(mesh):
            *arguments, _ = self._arguments(mesh)
            try:
                return run_steps.trace(*arguments, np.int32(0))
            except OverflowError as error:
                values = all_values(to_dict(self.config))
                keys = [f"{k}={values[k]}" for k in ASKED_BY[TEMPORARIES][:2]]
                raise InputError(
                    f"an array of a step has more entries than 32 bits count ({error})"
                    f"; lower {', '.join(keys)}"
                ) from None

    def _arguments(self, mesh: Any) -> tuple[Any, ...]:
        problem = self.problem
        layout = Layout(mesh, problem.layout_rows())

        def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
            kind = jax.dtypes.canonicalize_dtype(leaf.dtype)
            weak = getattr(leaf, "weak_type", False)
            if not leaf.shape:
                where = whole(mesh)
                return jax.ShapeDtypeStruct((), kind, sharding=where, weak_type=weak)
            shape = stored_rows(leaf.shape[0], layout.shards), *leaf.shape[1:]
            return jax.ShapeDtypeStruct(shape, kind, sharding=by_rows(mesh))

        def start(program: Program, data: TrainData) -> TrainState:
            return problem._replace(program=program, data=data).start()

        data = problem.data
        if problem.on_host:
            data = fed_rows(data, math.prod(self._batches))
        shapes = jax.tree.map(shape_of, (problem.program, data))
        of_batch = NamedSharding(mesh, PartitionSpec(None, (DATA, TABLE)))
        return (
            *shapes,
            layout.stored(jax.eval_shape(start, *shapes)),
            jax.ShapeDtypeStruct(self._batches, np.int32, sharding=of_batch),
            jax.ShapeDtypeStruct((), np.int32),
        )


def fed_rows(data: TrainData, number: int) -> TrainData:
    """Return data with the shapes of the positives of one dispatch."""

    def rows(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((number, *leaf.shape[1:]), leaf.dtype)

    of_rows = (data.queries, data.item, data.pools, data.weight)
    queries, item, pools, weight = jax.tree.map(rows, of_rows)
    known = data.known and data.known._replace(number=rows(data.known.number))
    return data._replace(
        queries=queries, item=item, pools=pools, weight=weight, known=known
    )


def _bytes(tree: Any) -> int:
    """Return the bytes of shapes on each device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _computed(program: Any) -> int:
    """Return the bytes of all arrays that a program and those within it compute."""
    size = 0
    for equation in getattr(program, "jaxpr", program).eqns:
        arrays = [variable.aval for variable in equation.outvars]
        size += sum(a.size * a.dtype.itemsize for a in arrays if hasattr(a, "size"))
        size += sum(map(_computed, jaxprs_in_params(equation.params)))
    return size
