"""The arrays and the memory that are planned are those of the real training."""

from typing import Any

import jax
import numpy as np
import pytest
from helpers.problems import (
    as_loaded,
    configure,
    with_features,
    with_times,
    zipf_clicks,
)
from helpers.quick import quick

from twotower_jax.data.log import Stage
from twotower_jax.data.sizes import given_sizes, sizes_of
from twotower_jax.model.tower import init_tower
from twotower_jax.run.footprint import Footprint
from twotower_jax.run.positives import trained_part
from twotower_jax.run.problem import make_problem
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, Trainer
from twotower_jax.training.step import run_steps

USERS, ITEMS, CLICKS = 300, 450, 2500
ID = {"towers__query": ["id"], "towers__candidate": ["id"]}
SLOTS = {"negatives__layout": "per_row", "negatives__easy__num": 16}
READER = {"towers__query": ["history"]}
PROGRAMS: dict[str, dict[str, Any]] = {
    "in-batch": {},
    "every feature": {
        "towers__query": ["id", "group", "tags", "size", "text"],
        "towers__candidate": ["id", "group", "tags", "size", "text"],
        "towers__hidden": [24],
    },
    "features of the data": {"towers__query": [], "towers__candidate": []},
    "adam_dense": {"optimizer__name": "adam_dense"},
    "sgd": {"optimizer__name": "sgd"},
    "easy": {"negatives__in_batch": False, "negatives__easy__num": 512},
    "slots": SLOTS,
    "known slots": {**SLOTS, "negatives__available": True},
    "history": READER,
    "attention": READER | {"towers__history_pooling": "attention"},
    "sequences": READER
    | {
        "towers__history_pooling": "transformer",
        "towers__history_length": 5,
        "towers__sequence__longer": "newest",
    },
    "bank": {"negatives__bank__size": 211},
    "streaming": {"loss__logq__frequency": "streaming"},
    "masked": {"negatives__mask": "user_positives"},
    "full": {"loss__name": "full_softmax"},
    "psl at k": {"loss__name": "softmax_at_k"},
    "two ways": {"loss__two_way__weight": 0.5, "loss__two_way__correct": "users"},
    "mined": {"negatives__hard__source": "mined", "negatives__hard__num": 4},
    "dns": {
        "negatives__hard__source": "dns",
        "negatives__hard__num": 4,
        "negatives__hard__log_q": "none",
    },
    "pools": {"negatives__hard__num": 4, "negatives__hard__stages": ["ranked"]},
    "fed": {"training__feed": "host"},
    "fed pools": {
        "training__feed": "host",
        "negatives__hard__num": 4,
        "negatives__hard__stages": ["ranked"],
    },
    "resampled positives": {
        "positives__strategy": "power",
        "positives__reweight": True,
    },
    "in order of time": {"training__order": "time"},
}
# Those whose steps are compiled, which takes seconds.
COMPILED = ("in-batch", "history", "slots", "adam_dense", "pools")


@pytest.fixture(scope="module")
def data():
    """A log of 450 items with times, features, and four ranked items per request."""
    user, item = zipf_clicks(USERS, ITEMS, CLICKS)
    request = np.arange(CLICKS)
    rows = {
        "user": np.repeat(user, 4),
        "item": np.random.default_rng(1).integers(0, ITEMS, 4 * CLICKS),
        "stage": np.full(4 * CLICKS, Stage.RANKED),
        "request": np.repeat(request, 4),
    }
    made = as_loaded(user, item, USERS, ITEMS, rows, request)
    time = np.arange(CLICKS, dtype=float)
    return with_features(with_times(made, time, np.repeat(time, 4)))


def both(name, data, folder):
    """Return the footprint, and the arguments of the first real dispatch."""
    config = configure(**ID | {"training__batch_size": 64} | PROGRAMS[name])
    part = trained_part(config, data)
    problem = make_problem(config, data)
    hooks = Hooks(lambda start: None, print)
    trainer = Trainer(problem, problem.schedule, Checkpoints(folder), hooks)
    fed, rows = trainer.feed(problem.order.batches(0, 8))
    arguments = trainer.program, fed, trainer.state, rows, np.int32(8)
    return Footprint(config, sizes_of(data.log, part.split)), arguments


@pytest.mark.parametrize("name", PROGRAMS)
def test_planned_arrays_are_those_of_the_training(name, data, tmp_path):
    footprint, arguments = both(name, data, tmp_path)
    planned = jax.tree_util.tree_leaves_with_path(footprint.arguments)
    made = jax.tree_util.tree_leaves_with_path(arguments)
    assert len(planned) == len(made)
    for (path, expected), (_, actual) in zip(planned, made, strict=True):
        name = jax.tree_util.keystr(path)
        assert expected.dtype == actual.dtype, name
        # A pool may be of fewer positives and items than a plan knows of.
        if "pools" in name or "positives.item" in name:
            pairs = zip(expected.shape, np.shape(actual), strict=True)
            assert all(most >= size for most, size in pairs), name
        else:
            assert expected.shape == np.shape(actual), name
    assert footprint.structure == arguments[0].structure


@pytest.mark.parametrize("name", quick(COMPILED, ["history", "pools"]))
def test_temporaries_are_those_that_xla_allocates(name, data, tmp_path):
    footprint, arguments = both(name, data, tmp_path)
    measured: Any = run_steps.lower(*arguments).compile().memory_analysis()
    planned = footprint.temporaries
    assert planned == pytest.approx(measured.temp_size_in_bytes, rel=0.02)
    assert planned <= footprint.most_temporaries
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[:4]))
    parts = sum(part.size for part in footprint.parts() if not part.host)
    assert parts == pytest.approx(held + arguments[3].nbytes, rel=0.25)


def test_a_training_runs_the_program_that_was_planned(data, tmp_path):
    """The trace and the program of the check are not made again."""
    footprint, arguments = both("easy", data, tmp_path)
    assert footprint.temporaries > 0
    with jax.set_mesh(jax.tree.leaves(arguments[2])[0].sharding.mesh):
        before = run_steps._cache_size()
        traced = run_steps.trace(*arguments)
        assert traced.jaxpr is footprint._traced().jaxpr
        assert run_steps._cache_size() == before


def test_flop_are_those_of_the_products():
    """6 D C per row, and 6 per weight of the layers: 384 C + 196,608 at 64-128-64."""
    keys = {"towers__hidden": [128], "training__merge_columns": False}
    config = configure(**ID | keys, towers__dim=64)
    work = Footprint(config, given_sizes(10**6, 10**6, 10**7)).work()
    rows = columns = config.training.batch_size
    assert work.flop == pytest.approx(rows * (196_608 + 384 * columns), rel=0.02)


@pytest.mark.parametrize("kind", ["mlp", "attention", "transformer"])
def test_layers_are_those_that_are_made(kind):
    towers = {
        "mlp": {"towers__hidden": [24, 40]},
        "attention": {"towers__history_pooling": "attention"},
        "transformer": {"towers__history_pooling": "transformer"},
    }[kind]
    names = {"towers__query": ["id", "history"], "towers__candidate": ["id"]}
    config = configure(**names, **towers, towers__dim=16)
    footprint = Footprint(config, given_sizes(USERS, ITEMS, CLICKS))
    key = jax.random.key(0)
    made = [
        jax.eval_shape(lambda key, spec=spec: init_tower(spec, key), key)
        for spec in footprint.structure.model
    ]
    layers = {part.name: part.size for part in footprint.parts()}["layers"]
    assert layers == 4 * sum(leaf.size for leaf in jax.tree.leaves(made))


def test_tables_are_spread_over_the_devices_of_a_mesh_that_is_not_there():
    sizes = given_sizes(10**6, 10**6, 10**7)
    whole, copied, spread = (
        {part.name: part.size for part in Footprint(config, sizes).parts()}
        for config in (
            configure(**ID, training__batch_size=512),
            configure(**ID, training__batch_size=512, training__mesh__data=64),
            configure(**ID, training__batch_size=512, training__mesh__table=64),
        )
    )
    for name in ("table query.id", "table candidate.id", "positives"):
        assert copied[name] == whole[name] == 64 * spread[name], name
    assert copied["log"] == spread["log"] == whole["log"]


def test_a_log_on_disk_takes_no_memory_that_grows_with_it():
    mapped = {
        "data__source": "prepared",
        "training__feed": "host",
        "training__order": "blocks",
    }

    def total(positives, **keys):
        config = configure(**ID, **keys)
        sizes = given_sizes(USERS, ITEMS, positives)
        return sum(part.size for part in Footprint(config, sizes).parts())

    small, large = 10**8, 10**9
    assert total(large) - total(small) > 30 * (large - small)
    assert total(large, **mapped) == total(small, **mapped)
    assert total(large, **mapped) < 10**8
    pools = mapped | {"negatives__hard__num": 4, "negatives__hard__stages": ("ranked",)}
    assert total(large, **pools) == total(small, **pools)
