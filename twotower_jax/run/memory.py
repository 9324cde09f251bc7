"""The memory of a training before it is made; one that does not fit is refused.

The arrays are those of `make_problem` on a small log, with the sizes of the real one in
the place of its own. So a plan needs no log, and knows every array that a training has.
"""

import copy
import math
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl
from jax.extend.core import jaxprs_in_params
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from twotower_jax.arrays.processes import alone
from twotower_jax.arrays.shards import DATA, TABLE, by_rows, stored_rows
from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import all_values
from twotower_jax.data.block_order import BLOCK, WINDOW
from twotower_jax.data.log import Feature, FunnelLog, Pairs, Split, Stage
from twotower_jax.data.memory import GIB, machine_memory
from twotower_jax.data.sizes import LOG_ROW, PART_ROW, Sizes
from twotower_jax.errors import InputError
from twotower_jax.model.tower import make_model
from twotower_jax.model.two_tower import rows_of_tables
from twotower_jax.negatives.columns import merged_size, merged_size_of_arms
from twotower_jax.negatives.funnel import REJECTED, parse_stage
from twotower_jax.run.loader import MIN_ID, Loaded, features_by_size, name_features
from twotower_jax.run.positives import as_prepared, positive_weights
from twotower_jax.run.problem import make_problem, make_structure
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh, whole
from twotower_jax.training.problem import Problem
from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState

# Sizes of the small log, each another number, so that an axis tells what it counts.
USERS, POSITIVES, LEAST_ITEMS = 211, 199, 2003
EARLIER = 2 * USERS  # positives before those that are trained on
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


def check_memory(config: Config, sizes: Sizes) -> None:
    """Refuse a training that needs more memory than the machine or its devices have."""
    if (reason := excess(Footprint(config, sizes))) is not None:
        raise InputError(reason)


def excess(footprint: "Footprint") -> str | None:
    """Return what a training needs beyond a memory of this host, None where it fits.

    The step is compiled only where its arguments fit, and all that it computes would
    not fit beside them.
    """
    parts, rooms = footprint.parts(), find_rooms(footprint.mesh.devices)

    def lacking(parts: list[Part]) -> Room | None:
        return next((room for room in rooms if room.needed(parts) > room.size), None)

    room = lacking(parts)
    if not room and lacking([*parts, Part(TEMPORARIES, footprint.computed_bytes())]):
        parts.append(Part(TEMPORARIES, footprint.temporaries))
        room = lacking(parts)
    if room is None:
        return None
    total, values = room.needed(parts), all_values(to_dict(footprint.config))
    largest = sorted(parts, key=room.bytes_of, reverse=True)[:SHOWN]
    largest = [part for part in largest if room.bytes_of(part) > total / 20]
    keys: dict[str, Any] = {}
    remedies: dict[str, None] = {}
    for part in largest:
        names = [name for name in ASKED_BY if part.name.startswith(name)]
        asked = ASKED_BY[max(names, key=len)] if names else ()
        numbers = [(key, values[key]) for key in asked if values.get(key)]
        keys |= sorted(numbers, key=lambda number: -np.max(number[1]))
        remedies |= dict.fromkeys(word for word in asked if " " in word)
    if room.devices and room.host and alone():
        remedies.pop(TABLES, None)  # all shards would lie in the same memory
    lower = ", ".join(f"{key}={value}" for key, value in list(keys.items())[:SHOWN])
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
    """The memory of a training, of a log whose sizes are known."""

    def __init__(self, config: Config, sizes: Sizes):
        length, mean = config.towers.history_length, sizes.positives / sizes.active
        query = config.towers.query or features_by_size(
            sizes.user_features, mean, MIN_ID if sizes.timed else length
        )
        self.config = name_features(config, query, sizes.item_features)
        self.sizes, training = sizes, config.training
        self.mesh = MeshShape(*training.mesh_shape)
        self._fed = training.feed == "host"
        self._of_dispatch = training.steps_per_dispatch * training.batch_size

    @cached_property
    def arguments(self) -> tuple[Any, ...]:
        """Shapes of the arguments of ``run_steps``, whose mesh needs no devices."""
        types = (AxisType.Auto,) * 2
        return self._arguments(AbstractMesh(tuple(self.mesh), (DATA, TABLE), types))

    @property
    def structure(self) -> Any:
        """The static part of the program."""
        return self._problem.program.structure

    def parts(self) -> list[Part]:
        """The memory without temporaries."""
        program, data, state, rows, _ = self.arguments
        params, fed = state.params, 2 if self._fed else 1
        histories = (data.queries.begin, data.queries.end)
        on_device = {
            **{f"table {name}": table for name, table in params["tables"].items()},
            "optimizer state of the tables": state.opt_state["tables"],
            "layers": {name: params[name] for name in params if name != "tables"},
            "optimizer state of the layers": state.opt_state["dense"],
            **{f"samplers: {name}": kept for name, kept in state.samplers.items()},
            "distributions of items and users": program.hyper,
            "positives": fed * [data.queries.user, data.item, data.weight],
            "histories": [*fed * histories, data.entities.history],
            "features": [data.entities.query, data.entities.candidate],
            "pools of hard negatives": fed * [data.pools],
            "positives of each user": data.positives,
            "known items": data.known,
            # One is made while another runs.
            "batches of a dispatch": [rows, rows],
        }
        parts = [Part(name, _bytes(tree)) for name, tree in on_device.items()]
        sizes, order = self.sizes, self.config.training.order
        ordered = min(sizes.positives, BLOCK * WINDOW if order == "blocks" else np.inf)
        # Two epochs of rows and a third.
        row = 16 + 8 * (order == "time")
        parts.append(Part("order of the positives", row * int(ordered), True))
        if self.config.data.source != "prepared":  # whose pages are those of files
            log = LOG_ROW * sizes.rows + PART_ROW * sizes.positives
            parts.append(Part("log", log, True))
        if self._fed and data.pools is not None and not as_prepared(self.config):
            pools = _bytes(data.pools) * sizes.positives // self._of_dispatch
            parts.append(Part("pools of hard negatives on the host", pools, True))
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

    @cached_property
    def _problem(self) -> Problem:
        """The problem of the small log, with the program of the real one."""
        config, items = self.config, self.sizes.num_items
        small = make_problem(_small_config(config), _small_log(config, self.sizes))
        model = make_model(config.towers, self.sizes)
        structure = make_structure(config, model, items, self._merged_size)
        return small._replace(program=Program(structure, small.program.hyper))

    def _merged_size(self, batch: int, drawn: int) -> int:
        sizes = self.sizes
        if sizes.counts is None:  # equal ones stand for them
            each = np.full(1, sizes.positives / sizes.num_items)
            return merged_size(each, batch, drawn, sizes.num_items)
        weights = positive_weights(self.config, sizes.counts)
        return merged_size_of_arms(sizes.counts, weights, batch, drawn)

    def _real_shape(self, leaf: Any) -> jax.ShapeDtypeStruct:
        """Return the shape of an array with the sizes of the real log."""
        sizes, items = self.sizes, _small_items(self.config)
        real = {
            USERS: sizes.num_users,
            USERS + 1: sizes.num_users + 1,
            POSITIVES: self._of_dispatch if self._fed else sizes.positives,
            POSITIVES + EARLIER: sizes.seen,
            items: sizes.num_items,
            2 * _leaves(items): 2 * _leaves(sizes.num_items),
        }
        shape = tuple(leaf.shape)
        if shape:
            shape = real.get(shape[0], shape[0]), *shape[1:]
        kind = jax.dtypes.canonicalize_dtype(leaf.dtype)
        weak = getattr(leaf, "weak_type", False)
        return jax.ShapeDtypeStruct(shape, kind, weak_type=weak)

    def _arguments(self, mesh: Any) -> tuple[Any, ...]:
        problem, sizes, training = self._problem, self.sizes, self.config.training
        items = _small_items(self.config)
        real = {
            USERS: sizes.num_users,
            USERS + 1: sizes.num_users + 1,
            POSITIVES: self._of_dispatch if self._fed else sizes.positives,
            POSITIVES + EARLIER: sizes.seen,
            items: sizes.num_items,
            2 * _leaves(items): 2 * _leaves(sizes.num_items),
        }

        def real_shape(leaf: Any, width: int = 0) -> jax.ShapeDtypeStruct:
            shape = [real.get(rows, rows) for rows in leaf.shape[:1]]
            shape += [width or size for size in leaf.shape[1:]]
            kind = jax.dtypes.canonicalize_dtype(leaf.dtype)
            weak = getattr(leaf, "weak_type", False)
            return jax.ShapeDtypeStruct(tuple(shape), kind, weak_type=weak)

        program, data = jax.tree.map(real_shape, (problem.program, problem.data))
        largest = getattr(self.config.negatives.hard, "pool_size", 0)
        width = min(largest, sizes.pool or largest)
        pools = jax.tree.map(lambda leaf: real_shape(leaf, width), problem.data.pools)
        data = data._replace(pools=pools)

        def start(program: Program, data: TrainData) -> TrainState:
            return problem._replace(program=program, data=data).start()

        rows = dict(rows_of_tables(program.structure.model))
        rows |= {"mined": sizes.num_users, "kth_score": sizes.num_users}
        rows |= dict.fromkeys(("last", "gap"), program.structure.buckets)
        layout = Layout(mesh, rows)

        def spread(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            if not leaf.shape:
                return leaf.update(sharding=whole(mesh))
            shape = stored_rows(leaf.shape[0], layout.shards), *leaf.shape[1:]
            return leaf.update(shape=shape, sharding=by_rows(mesh))

        batches = training.steps_per_dispatch, training.batch_size
        of_batch = NamedSharding(mesh, PartitionSpec(None, (DATA, TABLE)))
        return (
            *jax.tree.map(spread, (program, data)),
            layout.stored(jax.eval_shape(start, program, data)),
            jax.ShapeDtypeStruct(batches, np.int32, sharding=of_batch),
            jax.ShapeDtypeStruct((), np.int32),
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


def _leaves(items: int) -> int:
    return 1 << max(items - 1, 1).bit_length()


# --- the small log --------------------------------------------------------------------


def _small_config(config: Config) -> Config:
    config = copy.deepcopy(config)  # changed in place: its rules are not checked
    positives, training = config.positives, config.training
    weighted = positives.weight is not None or positives.lists.path is not None
    config.data.source = "simulator"
    positives.strategy, positives.lists.path = "none", None
    positives.weight = "weight" if weighted else None
    training.batch_size, training.steps = 1, 1000
    return config


def _small_items(config: Config) -> int:
    """Return the items of the small log: not fewer than a loss at k asks for."""
    at_k = getattr(config.loss, "at_k", None)
    return max(LEAST_ITEMS, at_k.k if at_k else 0)


def _small_log(config: Config, sizes: Sizes) -> Loaded:
    """Return a log with the features of the sizes, and rows of every hard stage."""
    names = getattr(config.negatives.hard, "stages", REJECTED)
    stages = [parse_stage(name) for name in names]
    # Two clicks of each user before the positives; at each of those a row of a stage.
    clicks, items = EARLIER + POSITIVES, _small_items(config)
    user = np.concatenate([np.repeat(np.arange(USERS), 2), np.arange(POSITIVES)])
    click = np.concatenate(
        [np.arange(clicks), *[np.arange(EARLIER, clicks)] * len(stages)]
    )
    kinds = [
        (Stage.CLICKED, 0),
        *((Stage[name.upper()], rank) for name, rank, _ in stages),
    ]
    stage, rank = np.repeat(kinds, [clicks, *[POSITIVES] * len(stages)], axis=0).T

    def features(real: dict[str, Feature], number: int) -> dict[str, Feature]:
        shapes = {name: (number, *f.values.shape[1:]) for name, f in real.items()}
        return {
            name: Feature(f.kind, np.zeros(shapes[name], f.values.dtype), f.size)
            for name, f in real.items()
        }

    log = FunnelLog(
        user=user[click].astype(np.int32),
        item=np.arange(len(click), dtype=np.int32),
        stage=stage.astype(np.int8),
        user_ids=pl.Series(np.arange(USERS)),
        item_ids=pl.Series(np.arange(items)),
        time=click.astype(np.float64) if sizes.timed else None,
        request=click,
        rank=rank.astype(np.int32),
        user_features=features(sizes.user_features, USERS),
        item_features=features(sizes.item_features, items),
    )

    def pairs(first: int, end: int) -> Pairs:
        rows, weight = slice(first, end), np.ones(end - first)
        time = None if log.time is None else log.time[rows]
        return Pairs(log.user[rows], log.item[rows], time, click[rows], weight)

    train, none = pairs(EARLIER, clicks), pairs(0, 0)
    split = Split(train, none, none, before=pairs(0, EARLIER))
    return Loaded(log, split, np.bincount(train.item, minlength=items), "")
