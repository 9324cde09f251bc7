"""A learned temperature: its gradient, its own rate and its bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import small_problem, with_program
from helpers.source_steps import CHEAP, DATA, batches_of

from twotower_jax.losses import LOSSES, Tempered
from twotower_jax.training.loop import learned_temperature
from twotower_jax.training.step import train_step

RATE, START = 0.01, 0.1
STEP = jax.jit(train_step, **CHEAP)
LEARNED = {
    "loss__learn_temperature": True,
    "loss__temperature_rate": RATE,
    "loss__temperature_min": 0.01,
}
EASY = {"negatives__easy__num": 8, "towers__hidden": ()}


def problem_of(**keys):
    return small_problem(DATA, **(EASY | {"loss__temperature": START} | keys))


def after_a_step(**keys):
    """Return log T after one step, and the loss before it."""
    problem = problem_of(**keys)
    rows = batches_of(problem, 1)[0]
    state, loss = STEP(problem.program, problem.data, problem.start(), rows)
    return float(state.params["log_temperature"]), float(loss)


def slope_of_the_loss(**keys):
    """Return d loss / d log T by central differences of programs of fixed T."""
    problem = problem_of(**keys)
    rows, state, width = batches_of(problem, 1)[0], problem.start(), 0.02
    losses = []
    for log_t in np.log(START) + np.array([-width, width]):
        program = with_program(problem, log_temperature=jnp.float32(log_t)).program
        losses.append(float(STEP(program, problem.data, state, rows)[1]))
    return (losses[1] - losses[0]) / (2 * width)


# One loss of each kind: a softmax, one over pairs, one with weights of its rows.
KINDS = ("sampled_softmax",)
LEARNING = {n for n, loss in LOSSES.items() if issubclass(loss, Tempered)}
OTHERS = sorted(LEARNING - {*KINDS})


@pytest.mark.parametrize(
    "name",
    [*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def test_a_step_moves_log_t_down_the_slope_of_the_loss(name):
    keys = {"loss__name": name}
    slope = slope_of_the_loss(**keys)
    assert abs(slope) > 0.01
    log_t, _ = after_a_step(**keys, **LEARNED)
    assert log_t - np.log(START) == pytest.approx(-RATE * slope, rel=0.01)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer__learning_rate": 0.5},
        {"optimizer__name": "adam", "optimizer__learning_rate": 0.001},
        pytest.param({"optimizer__name": "sgd"}, marks=pytest.mark.slow),
    ],
)
def test_its_step_does_not_depend_on_the_optimizer_of_the_tables(optimizer):
    assert after_a_step(**LEARNED, **optimizer)[0] == after_a_step(**LEARNED)[0]


@pytest.mark.parametrize("low", [0.05, None])
def test_it_stays_within_its_bounds(low):
    """At a rate that always overshoots; the lowest value is the start by default.

    It rises for random towers and falls as they learn the clicks.
    """
    fast = LEARNED | {"loss__temperature_rate": 1e4, "loss__temperature_max": 0.3}
    learning = {"optimizer__learning_rate": 0.5}
    problem = problem_of(**fast | learning | {"loss__temperature_min": low})
    state, values = problem.start(), set()
    for rows in batches_of(problem, 60):
        state, _ = STEP(problem.program, problem.data, state, rows)
        values.add(round(learned_temperature(state.params) or 0, 5))
    assert values == {low or START, 0.3}
