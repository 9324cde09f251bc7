"""The memory of a training against what XLA allocates for its compiled step."""

from typing import Any

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, configure, zipf_clicks
from helpers.quick import quick

from twotower_jax.cost.memory import (
    DEVICE,
    device_bytes,
    memory_parts,
    shared_bytes,
)
from twotower_jax.cost.shape import dense_numbers
from twotower_jax.data.sizes import given_sizes, sizes_of
from twotower_jax.model.tower import init_tower
from twotower_jax.run.memory import training_shape
from twotower_jax.run.problem import make_problem
from twotower_jax.training.step import run_steps

USERS, ITEMS, CLICKS = 3000, 2000, 4000
LOSS = "loss, or rows of histories"
OF_STEP = (
    "vectors of a step",
    "hidden layers of a step",
    "bank of a step",
    LOSS,
    "batches of a dispatch",
    "mask of a step",
    "gradient of a whole table",
)
ID = {"towers__query": ["id"], "towers__candidate": ["id"]}
PROGRAMS = {
    "adam": {},
    "adagrad": {"optimizer__name": "adagrad"},
    "sgd": {"optimizer__name": "sgd"},
    "adam_dense": {"optimizer__name": "adam_dense"},
    "layers": {"towers__hidden": [128]},
    "uniform": {"negatives__in_batch": False, "negatives__easy__num": 512},
    "slots": {
        "negatives__in_batch": False,
        "negatives__layout": "per_row",
        "negatives__easy__num": 16,
    },
    "history": {"towers__query": ["history"]},
    "bank": {"negatives__bank__size": 2048},
    "streaming": {"loss__logq__frequency": "streaming"},
    "masked": {"negatives__mask": "user_positives"},
    "full": {"loss__name": "full_softmax"},
    "mined": {"negatives__hard__source": "mined", "negatives__hard__num": 4},
}
# Those whose steps are compiled, which takes seconds.
COMPILED = ("adagrad", "adam_dense", "layers", "uniform", "slots", "history", "bank")


@pytest.fixture(scope="module")
def data():
    return as_loaded(*zipf_clicks(USERS, ITEMS, CLICKS), USERS, ITEMS)


def of_program(name, data):
    """Return the predicted shape, and the arguments of the steps."""
    keys = ID | {"training__batch_size": 512, "towers__dim": 32} | PROGRAMS[name]
    config = configure(**keys)
    problem = make_problem(config, data)
    rows = problem.order.batches(0, config.training.steps_per_dispatch)
    shape = training_shape(config, sizes_of(data.log, data.split))
    return shape, (problem.program, problem.data, problem.start(), rows, np.int32(8))


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_kept_on_a_device_is_known_to_scalars(name, data):
    shape, arguments = of_program(name, data)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[:3]))
    parts = memory_parts(shape)
    step = sum(part.size for part in parts if part.name in OF_STEP)
    assert device_bytes(parts) - step == pytest.approx(held, abs=400)


@pytest.mark.parametrize("name", quick(COMPILED, ["slots", "history"]))
def test_a_step_needs_what_its_compiled_program_allocates(name, data):
    shape, arguments = of_program(name, data)
    compiled = run_steps.lower(*arguments).compile()
    step = sum(part.size for part in memory_parts(shape) if part.name in OF_STEP)
    measured: Any = compiled.memory_analysis()
    assert step == pytest.approx(measured.temp_size_in_bytes, rel=0.4)


@pytest.mark.parametrize("kind", ["mlp", "attention", "transformer"])
def test_parameters_of_towers_are_those_that_are_made(kind, data):
    towers = {
        "mlp": {"towers__hidden": [24, 40]},
        "attention": {"towers__history_pooling": "attention"},
        "transformer": {"towers__history_pooling": "transformer"},
    }[kind]
    names = {"towers__query": ["id", "history"], "towers__candidate": ["id"]}
    config = configure(**names, **towers, towers__dim=16)
    shape = training_shape(config, given_sizes(USERS, ITEMS, CLICKS))
    for spec in shape.structure.model:
        made = jax.eval_shape(lambda key, spec=spec: init_tower(spec, key), KEY)
        assert dense_numbers(spec) == sum(x.size for x in jax.tree.leaves(made))


KEY = jax.random.key(0)


def test_a_batch_on_two_devices_is_halved_and_the_tables_are_not():
    one, two = (
        memory_parts(
            training_shape(
                configure(**ID, training__batch_size=512, training__devices=devices),
                given_sizes(USERS, ITEMS, CLICKS),
            )
        )
        for devices in (1, 2)
    )
    sizes = [{part.name: part.size for part in parts} for parts in (one, two)]
    assert sizes[0]["query tables"] == sizes[1]["query tables"]
    assert (
        sizes[1]["loss, or rows of histories"] < sizes[0]["loss, or rows of histories"]
    )
    kept = sum(part.size for part in two if part.place == DEVICE)
    host = sum(part.size for part in two if part.place != DEVICE)
    assert shared_bytes(two, 2) == 2 * kept + host


def test_a_log_on_disk_takes_no_memory_that_grows_with_it():
    mapped = {
        "data__source": "prepared",
        "training__feed": "host",
        "training__order": "blocks",
    }

    def total(positives, **keys):
        config = configure(**ID, **keys)
        sizes = given_sizes(USERS, ITEMS, positives)
        return shared_bytes(memory_parts(training_shape(config, sizes)), 1)

    small, large = 10**8, 10**9
    assert total(large) - total(small) > 30 * (large - small)
    assert total(large, **mapped) == total(small, **mapped)
    assert total(large, **mapped) < 10**8
    pools = mapped | {"negatives__hard__num": 4, "negatives__hard__stages": ("ranked",)}
    assert total(large, **pools) == total(small, **pools)
