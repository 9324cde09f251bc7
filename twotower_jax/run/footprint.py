"""The arrays of a training before it is made, and what XLA needs beside them.

The arrays are those of `make_problem` on a small log, with the sizes of the real one in
the place of its own. So a plan needs no log, and knows every array that a training has.
"""

import copy
import math
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import polars as pl
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxprs_in_params
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from twotower_jax.config import Config
from twotower_jax.data.block_order import BLOCK, WINDOW
from twotower_jax.data.log import Feature, FunnelLog, Pairs, Split, Stage
from twotower_jax.data.place_rows import by_rows
from twotower_jax.data.shards import DATA, TABLE, stored_rows
from twotower_jax.data.sizes import LOG_ROW, PART_ROW, Sizes
from twotower_jax.model.specs import make_model
from twotower_jax.model.two_tower import rows_of_tables
from twotower_jax.negatives import Funnel
from twotower_jax.negatives.columns import merged_size, merged_size_of_arms
from twotower_jax.negatives.funnel import REJECTED, parse_stage
from twotower_jax.run.loader import Loaded
from twotower_jax.run.plan import positive_weights
from twotower_jax.run.positives import as_prepared
from twotower_jax.run.problem import make_problem, make_structure
from twotower_jax.run.tower_features import features_of_sizes
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh, whole
from twotower_jax.training.problem import Problem
from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState

# Sizes of the small log, each another number, so that an axis tells what it counts.
USERS, POSITIVES, LEAST_ITEMS = 211, 199, 2003
EARLIER = 2 * USERS  # positives before those that are trained on
OF_USERS = ("mined", "kth_score")  # memories with a row per user


class Part(NamedTuple):
    """A part of the memory of a training: of each device, or of the host."""

    name: str
    size: int
    host: bool = False


class Arguments(NamedTuple):
    """Shapes of the arguments of ``run_steps``, with their places on a mesh."""

    program: Program
    data: TrainData
    state: TrainState
    rows: jax.ShapeDtypeStruct
    number: jax.ShapeDtypeStruct


class Work(NamedTuple):
    """The work of a step: FLOP of all devices, and bytes that each of them moves."""

    flop: float
    moved: float


class Footprint:
    """The memory and the work of a training, of a log whose sizes are known."""

    def __init__(self, config: Config, sizes: Sizes):
        self.config, self.sizes = features_of_sizes(config, sizes), sizes
        self.mesh = MeshShape(*config.training.mesh_shape)

    @cached_property
    def arguments(self) -> Arguments:
        """The arguments of a dispatch, whose mesh needs no devices."""
        names = (DATA, TABLE)
        types = (AxisType.Auto,) * 2
        return self._arguments(AbstractMesh(tuple(self.mesh), names, axis_types=types))

    def parts(self) -> list[Part]:
        """The memory without temporaries, part by part."""
        program, data, state, rows, _ = self.arguments
        params, fed = state.params, 2 if self._fed else 1
        histories = (data.queries.begin, data.queries.end)
        layers = {name: params[name] for name in params if name != "tables"}
        on_device = {
            **{f"table {name}": table for name, table in params["tables"].items()},
            "optimizer state of the tables": state.opt_state["tables"],
            "layers": layers,
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
        return [part for part in (*parts, *self._host_parts()) if part.size]

    def _host_parts(self) -> Iterable[Part]:
        """Yield what the host holds: the log, and two epochs of rows and a third."""
        training, sizes = self.config.training, self.sizes
        ordered = sizes.positives
        if training.order == "blocks":
            ordered = min(ordered, BLOCK * WINDOW)
        timed = 8 * (training.order == "time")
        yield Part("order of the positives", (16 + timed) * ordered, True)
        if self.config.data.source != "prepared":  # whose pages are those of files
            log = LOG_ROW * sizes.rows + PART_ROW * sizes.positives
            yield Part("log", log, True)
        pools = self.arguments.data.pools
        if self._fed and pools is not None and not as_prepared(self.config):
            size = _bytes(pools) * sizes.positives // self._of_dispatch
            yield Part("pools on the host", size, True)

    @property
    def most_temporaries(self) -> int:
        """Bytes of every array that a step computes, as if none were ever freed."""
        return _walk(self._traced().jaxpr)[1]

    def computed_bytes(self) -> int:
        """Bytes of every array that a step computes, but tables and their states."""
        kept = {leaf.shape for leaf in jax.tree.leaves(self.arguments.state)}
        return _walk(self._traced().jaxpr, skipped=frozenset(kept))[1]

    @cached_property
    def temporaries(self) -> int:
        """Bytes that XLA allocates on each device beside the arguments."""
        memory: Any = self._compiled.memory_analysis()
        made = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return memory.temp_size_in_bytes + max(0, made)

    def work(self) -> Work:
        """The work of a step; XLA counts bytes in a loop as if it ran once."""
        counted: Any = self._compiled.cost_analysis()
        flop = _walk(self._traced().jaxpr, self.mesh.devices)[0]
        return Work(flop, counted["bytes accessed"])

    @cached_property
    def _compiled(self) -> Any:
        return self._traced().lower().compile()

    def _traced(self) -> Any:
        mesh = make_mesh(self.mesh)
        with jax.set_mesh(mesh):
            *arguments, _ = self._arguments(mesh)
            return run_steps.trace(*arguments, np.int32(0))

    # --- shapes -----------------------------------------------------------------------

    @property
    def _fed(self) -> bool:
        return self.config.training.feed == "host"

    @property
    def _of_dispatch(self) -> int:
        training = self.config.training
        return training.steps_per_dispatch * training.batch_size

    @cached_property
    def _problem(self) -> Problem:
        """The problem of the small log, with the program of the real one."""
        small = make_problem(_small_config(self.config), self._small_log)
        items = self.sizes.num_items
        model = make_model(self.config.towers, self.sizes)
        merged = partial(_merged_size, self.config, self.sizes)
        structure = make_structure(self.config, model, items, merged)
        return small._replace(program=Program(structure, small.program.hyper))

    @property
    def structure(self) -> Any:
        """The static part of the program."""
        return self._problem.program.structure

    @cached_property
    def _small_log(self) -> Loaded:
        return _small_log(self.config, self.sizes)

    def _real_shape(self, leaf: Any) -> jax.ShapeDtypeStruct:
        """Return the shape of an array with the sizes of the real log."""
        sizes, items = self.sizes, self._small_log.log.num_items
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

    def _arguments(self, mesh: Any) -> Arguments:
        problem, sizes = self._problem, self.sizes
        program, data = jax.tree.map(self._real_shape, (problem.program, problem.data))
        if data.pools is not None:
            width = cast(Funnel, self.config.negatives.hard).pool_size
            width = min(width, sizes.pool or width)

            def widened(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
                shape = (leaf.shape[0], *[width] * (len(leaf.shape) - 1))
                return jax.ShapeDtypeStruct(shape, leaf.dtype)

            data = data._replace(pools=jax.tree.map(widened, data.pools))

        def start(program: Program, data: TrainData) -> TrainState:
            return problem._replace(program=program, data=data).start()

        state = jax.eval_shape(start, program, data)
        own = {n: state.samplers[n] for n in OF_USERS if n in state.samplers}
        samplers = state.samplers | jax.tree.map(self._real_shape, own)
        rows = dict(rows_of_tables(program.structure.model))
        rows |= dict.fromkeys(OF_USERS, sizes.num_users)
        rows |= dict.fromkeys(("last", "gap"), program.structure.buckets)
        layout = Layout(mesh, rows)

        def spread(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            shape, where = leaf.shape, whole(mesh)
            if shape:
                shape = stored_rows(shape[0], layout.shards), *shape[1:]
                where = by_rows(mesh)
            return jax.ShapeDtypeStruct(
                shape, leaf.dtype, sharding=where, weak_type=leaf.weak_type
            )

        training = self.config.training
        batches = training.steps_per_dispatch, training.batch_size
        of_batch = NamedSharding(mesh, PartitionSpec(None, (DATA, TABLE)))
        program, data = jax.tree.map(spread, (program, data))
        return Arguments(
            program,
            data,
            layout.stored(state._replace(samplers=samplers)),
            jax.ShapeDtypeStruct(batches, np.int32, sharding=of_batch),
            jax.ShapeDtypeStruct((), np.int32),
        )


def _bytes(tree: Any) -> int:
    """Return the bytes of shapes on each device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _merged_size(config: Config, sizes: Sizes, batch: int, drawn: int) -> int:
    """Return the number of merged columns; equal counts stand for unknown ones."""
    if sizes.counts is None:
        each = np.full(1, sizes.positives / sizes.num_items)
        return merged_size(each, batch, drawn, sizes.num_items)
    weights = positive_weights(config, sizes.counts)
    return merged_size_of_arms(sizes.counts, weights, batch, drawn)


def _leaves(items: int) -> int:
    """Return the leaves of a tree over the items."""
    return 1 << max(items - 1, 1).bit_length()


# --- the small log --------------------------------------------------------------------


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


def _small_config(config: Config) -> Config:
    """Return the configuration without files, and with steps for a small log."""
    positives = config.positives
    weighted = positives.weight is not None or positives.lists.path is not None
    changes = {
        "data.source": "simulator",
        "positives.strategy": "none",
        "positives.lists.path": None,
        "positives.weight": "weight" if weighted else None,
        "training.batch_size": 1,
        "training.steps": 1000,
    }
    for key, value in changes.items():
        config = with_value(config, key, value)
    return config


def _small_log(config: Config, sizes: Sizes) -> Loaded:
    """Return a log with the features of the sizes, and rows of every hard stage."""
    user = np.concatenate([np.repeat(np.arange(USERS), 2), np.arange(POSITIVES)])
    item = time = request = np.arange(len(user))
    hard_source = config.negatives.hard
    names = hard_source.stages if isinstance(hard_source, Funnel) else REJECTED
    stages = [parse_stage(name) for name in names]
    hard = np.tile(np.arange(EARLIER, len(user)), len(stages))
    stage = [Stage[name.upper()] for name, _, _ in stages]
    rank = [first for _, first, _ in stages]
    at_k = getattr(config.loss, "at_k", None)
    items = max(LEAST_ITEMS, at_k.k if at_k else 0)

    def joined(of_clicks: np.ndarray, of_hard: Any, kind: Any) -> np.ndarray:
        return np.concatenate([of_clicks, of_hard]).astype(kind)

    def features(real: dict[str, Feature], number: int) -> dict[str, Feature]:
        return {name: _small_feature(feature, number) for name, feature in real.items()}

    clicks = np.full(len(user), Stage.CLICKED)
    log = FunnelLog(
        user=joined(user, user[hard], np.int32),
        item=joined(item, len(item) + np.arange(len(hard)), np.int32),
        stage=joined(clicks, np.repeat(stage, POSITIVES), np.int8),
        user_ids=pl.Series(np.arange(USERS)),
        item_ids=pl.Series(np.arange(items)),
        time=joined(time, time[hard], np.float64) if sizes.timed else None,
        request=joined(request, request[hard], np.int64),
        rank=joined(0 * clicks, np.repeat(rank, POSITIVES), np.int32),
        user_features=features(sizes.user_features, USERS),
        item_features=features(sizes.item_features, items),
    )

    def pairs(rows: slice) -> Pairs:
        times = None if log.time is None else log.time[rows]
        weight = np.ones(len(user[rows]))
        return Pairs(log.user[rows], log.item[rows], times, request[rows], weight)

    train, none = pairs(slice(EARLIER, len(user))), pairs(slice(0))
    split = Split(train, none, none, before=pairs(slice(EARLIER)))
    return Loaded(log, split, np.bincount(train.item, minlength=items), "")


def _small_feature(real: Feature, number: int) -> Feature:
    """Return a feature of a number of users or items, with the codes of a real one."""
    values = np.zeros((number, *real.values.shape[1:]), real.values.dtype)
    return Feature(real.kind, values, real.size)


# --- what a program computes ----------------------------------------------------------


def _walk(
    jaxpr: Jaxpr | ClosedJaxpr,
    devices: int = 1,
    skipped: frozenset[tuple[int, ...]] = frozenset(),
) -> tuple[float, int]:
    """Return the FLOP of products, and the bytes of all arrays that are computed.

    Arrays of the shapes ``skipped`` are left out. A loop whose length is known counts
    for FLOP as often as it runs, another one once; of branches the most costly one.
    """
    flop, size = 0.0, 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        made: list[Any] = [variable.aval for variable in equation.outvars]
        size += sum(
            array.size * array.dtype.itemsize
            for array in made
            if hasattr(array, "size") and array.shape not in skipped
        )
        if equation.primitive.name == "dot_general":
            flop += _flop(equation)
        programs = jaxprs_in_params(equation.params)
        parts = [_walk(program, devices, skipped) for program in programs]
        if not parts:
            continue
        name = equation.primitive.name
        combine = max if name == "cond" else sum
        times = equation.params["length"] if name == "scan" else 1
        times *= devices if name == "shard_map" else 1
        flop += times * combine(part[0] for part in parts)
        size += combine(part[1] for part in parts)
    return flop, size


def _flop(equation: Any) -> float:
    """Return the multiplications and additions of a product of arrays."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2.0 * equation.outvars[0].aval.size * depth
