"""Arms as one program: each equals its run alone, whatever the others do."""

import threading
import time
from functools import partial

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, with_program, zipf_clicks
from helpers.quick import quick

from twotower_jax.data.log import Stage
from twotower_jax.training import together as module
from twotower_jax.training.step import run_steps
from twotower_jax.training.together import Lane, Together, run_arms

USERS, ITEMS, CLICKS = 30, 40, 400
USER, ITEM = zipf_clicks(USERS, ITEMS, CLICKS)


def loaded():
    """Return clicks with six ranked items in the request of each."""
    rows = {
        "user": np.repeat(USER, 6),
        "item": np.random.default_rng(1).integers(0, ITEMS, CLICKS * 6),
        "stage": np.full(6 * CLICKS, Stage.RANKED),
        "request": np.repeat(np.arange(CLICKS), 6),
    }
    return as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(CLICKS))


DATA = loaded()
HARD = {"negatives__hard__num": 3, "negatives__hard__stages": ["ranked"]}
EVERYTHING = HARD | {
    "towers__hidden": (),
    "negatives__bank__size": 40,
    "negatives__bank__warmup": 2 / 250,
    "negatives__easy__num": 4,
    "negatives__easy__sampler": "popularity",
    "negatives__hard_ratio": 0.5,
    "loss__logq__frequency": "streaming",
    "loss__learn_temperature": True,
    "positives__strategy": "downsample_hot",
    "positives__reweight": True,
}
HISTORIES = {
    "towers__query": ("history",),
    "towers__history_pooling": "attention",
    "towers__history_table": "shared",
}
POPULAR = {"negatives__easy__sampler": "popularity"}
ARMS = (
    POPULAR | {"seed": 0},
    POPULAR | {"seed": 1, "optimizer__learning_rate": 0.2, "loss__temperature": 0.2},
    POPULAR | {"seed": 2, "optimizer__eps": 1e-3, "negatives__easy__alpha": 0.1},
)


def dispatches(problem, numbers, steps):
    """Return the state and the losses of dispatches of so many steps each.

    At a boundary, 0, the loop takes the state, as for a validation.
    """
    state, losses, first = problem.start(), [], 0
    for number in numbers:
        if not number:
            state = state.take() if isinstance(state, Lane) else state
            continue
        rows = problem.order.batches(first, 4)
        state, some = steps(
            problem.program,
            problem.data,
            state,
            rows,
            np.int32(number),
        )
        losses.append(np.asarray(some)[:number])
        first += number
    return state.take() if isinstance(state, Lane) else state, np.concatenate(losses)


def in_threads(arms):
    """Run functions side by side to their ends."""
    threads = [threading.Thread(target=arm, daemon=True) for arm in arms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()


def side_by_side(problems, numbers, lanes=None):
    """Return the result, or the error, of ``dispatches`` of arms that run together.

    An arm without numbers leaves at once. Those beyond the lanes wait from the start.
    """
    together, results = Together(lanes or len(problems)), {}
    late = set(range(lanes or len(problems), len(problems)))

    def arm(place):
        steps = together.steps(place)
        while place not in late and late - together._calls.keys():
            time.sleep(0.001)
        late.difference_update([] if place in late else late)
        try:
            if numbers[place]:
                results[place] = dispatches(problems[place], numbers[place], steps)
        except Exception as error:
            results[place] = error
        finally:
            steps.leave()

    in_threads([partial(arm, place) for place in range(len(problems))])
    return [results.get(place) for place in range(len(problems))]


def assert_like_alone(problems, numbers, lanes=None):
    results = side_by_side(problems, numbers, lanes)
    for problem, own, (state, losses) in zip(problems, numbers, results, strict=True):
        alone, expected = dispatches(problem, own, run_steps)
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        assert int(state.step) == sum(own)
        for one, other in zip(
            jax.tree.leaves(state), jax.tree.leaves(alone), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "keys",
    quick([{}, EVERYTHING, HISTORIES], [{}]),
    ids=["in-batch", "everything", "histories"],
)
def test_an_arm_equals_its_run_alone(keys):
    problems = [small_problem(DATA, **(keys | arm)) for arm in ARMS]
    assert problems[0].program.merged_size > 0
    before = run_arms._cache_size()
    # One stops first, one has a boundary of its own, and one goes on.
    assert_like_alone(problems, [(4,), (4, 2, 4), (4, 4, 2)])
    assert run_arms._cache_size() == before + 1


@pytest.fixture
def dispatched(monkeypatch):
    """Return the list of the programs that ran, filled as they run."""
    calls = []

    def run_arms(*arguments, real=module.run_arms):
        calls.append(int(arguments[-1]))
        return real(*arguments)

    monkeypatch.setattr(module, "run_arms", run_arms)
    return calls


@pytest.mark.slow
def test_the_lane_of_an_arm_that_ended_is_free_for_the_next(dispatched):
    """Three short arms share the lane beside a long one: no dispatch is added."""
    arms = [ARMS[0], ARMS[1], ARMS[2], ARMS[0] | {"seed": 3}]
    # Adam steps as far for a gradient of rounding errors as for a large one.
    keys = HARD | {"optimizer__name": "sgd"}
    problems = [small_problem(DATA, **(keys | arm)) for arm in arms]
    period = (4, 4, 0)
    before = run_arms._cache_size()
    assert_like_alone(problems, [period * 3, period, period, period], lanes=2)
    assert run_arms._cache_size() == before + 1
    assert dispatched == [4] * 6


def test_arms_at_a_boundary_wait_for_the_others(dispatched):
    """As after a resume: from then on all have their boundaries at one dispatch."""
    problems = [small_problem(DATA, **arm) for arm in ARMS[:2]]
    assert_like_alone(problems, [(4, 0, 4, 2, 0, 4, 2), (4, 2, 0, 4, 2)])
    assert dispatched == [4, 2, 4, 2, 4, 2]


@pytest.mark.slow
def test_the_last_arm_compiles_nothing_anew():
    """Data that differed between the arms are stacked to the end."""
    keys = HARD | {"negatives__hard__pool_size": 3}
    problems = [small_problem(DATA, **(keys | arm)) for arm in ARMS[:2]]
    pools = [jax.tree.leaves(problem.data.pools) for problem in problems]
    assert any((x != y).any() for x, y in zip(*pools, strict=True))
    before = run_arms._cache_size()
    assert_like_alone(problems, [(4,), (4, 4)])
    assert run_arms._cache_size() == before + 1


def test_an_arm_that_leaves_holds_up_nobody():
    problems = [small_problem(DATA, **arm) for arm in ARMS]
    none, (first, _), (second, _) = side_by_side(problems, [(), (4, 4), (4, 4)])
    assert none is None and int(first.step) == int(second.step) == 8


def test_an_error_of_the_program_reaches_every_arm():
    right, wrong = (small_problem(DATA, **arm) for arm in ARMS[:2])
    wrong = with_program(wrong, log_q_batch=right.program.log_q_batch[:3])
    errors = side_by_side([right, wrong], [(4,), (4,)])
    assert all("shape" in str(error) for error in errors)


def test_an_arm_that_leaves_outside_of_its_mesh_compiles_nothing():
    """The dispatch that waited for it runs in the thread of the other arm."""
    problems = [small_problem(DATA, **arm) for arm in ARMS[:2]]
    together = Together(2)

    def train(arm, numbers):
        with jax.set_mesh(problems[arm].layout().mesh):
            dispatches(problems[arm], numbers, together.steps(arm))

    def leave_last():
        train(1, (4,))
        while 0 not in together._calls:
            time.sleep(0.001)
        together.leave(1)

    run_arms.clear_cache()
    in_threads([partial(train, 0, (4, 4)), leave_last])
    assert run_arms._cache_size() == 1
