"""The work of a step against the counts that XLA gives for its compiled program."""

from typing import Any

import jax
import pytest
from helpers.problems import as_loaded, configure, zipf_clicks
from helpers.quick import quick

from twotower_jax.cost.work import step_work
from twotower_jax.data.sizes import given_sizes, sizes_of
from twotower_jax.run.memory import training_shape
from twotower_jax.run.problem import make_problem
from twotower_jax.training import updates as row_updates
from twotower_jax.training.step import train_step

USERS, ITEMS = 300, 4000
ID = {"towers__query": ["id"], "towers__candidate": ["id"], "towers__dim": 64}
# XLA counts a loop once, so that rows fit one block and are updated in one part; merged
# columns have two branches.
ONE_BLOCK = {"training__batch_size": 256, "training__merge_columns": False}
PROGRAMS = {
    "in-batch": {},
    "layers": {"towers__hidden": [128, 64]},
    "uniform": {"negatives__in_batch": False, "negatives__easy__num": 1024},
    "slots": {"negatives__layout": "per_row", "negatives__easy__num": 8},
    "more slots than items": {
        "negatives__layout": "per_row",
        "negatives__easy__num": 24,
    },
    "bank": {"negatives__bank__size": 2048},
    "history": {"towers__query": ["history"]},
    "bce": {"loss__name": "bce"},
    "two ways": {"loss__two_way__weight": 0.5},
}


@pytest.mark.parametrize("name", quick(PROGRAMS, ["slots", "history", "two ways"]))
def test_flop_and_exponentials_are_those_that_xla_counts(name, data, monkeypatch):
    monkeypatch.setattr(row_updates, "FEW_ROWS", 2**20)  # in one part, as said above
    config = configure(**ID | ONE_BLOCK | PROGRAMS[name])
    problem = make_problem(config, data)
    rows = problem.order.batches(0, 1)[0]
    arguments = problem.program, problem.data, problem.start(), rows
    counted: Any = jax.jit(train_step).lower(*arguments).compile().cost_analysis()
    work = step_work(training_shape(config, sizes_of(data.log, data.split)))
    # XLA also counts additions and comparisons of single numbers: a twelfth of the
    # products at dimension 64, with slots more, whose vectors are added one by one.
    # With histories it counts the update of a whole block, most rows of it padding, and
    # where each item is encoded once, those of 4,000 items beside products of 256 rows.
    least = {"history": 0.6, "more slots than items": 0.5}.get(name, 0.7)
    assert least * counted["flops"] < work.flop < 1.02 * counted["flops"]
    if name == "history":
        return
    assert work.exponentials == pytest.approx(counted["transcendentals"], rel=0.35)


@pytest.fixture(scope="module")
def data():
    return as_loaded(*zipf_clicks(USERS, ITEMS, 4000), USERS, ITEMS)


def test_flop_of_the_lecture_formula():
    """6 D C per row, and 6 per weight of the layers: 384 C + 196,608 at 64-128-64."""
    config = configure(**ID, towers__hidden=[128], training__merge_columns=False)
    work = step_work(training_shape(config, given_sizes(10**6, 10**6, 10**7)))
    rows = columns = config.training.batch_size
    assert work.flop == rows * (196_608 + 384 * columns)


def test_work_is_that_of_one_device():
    one, two = (
        step_work(
            training_shape(
                configure(
                    **ID, training__devices=devices, training__merge_columns=False
                ),
                given_sizes(10**6, 10**6, 10**7),
            )
        )
        for devices in (1, 2)
    )
    assert two.score_flop == one.score_flop / 2
