"""From a configuration to a problem: refusals and numbers."""

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks

from twotower_jax.data.log import Stage
from twotower_jax.errors import InputError

DATA = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)


def test_a_resampled_epoch_smaller_than_a_batch_is_refused():
    with pytest.raises(
        InputError, match=r"positives\.strategy=cap leaves [34]. of 400"
    ):
        small_problem(
            DATA,
            positives__strategy="cap",
            positives__cap=1,
            training__batch_size=64,
        )


@pytest.mark.parametrize("strategy", ["upsample_cold", "downsample_hot", "power"])
def test_log_q_of_in_batch_negatives_is_that_of_the_resampled_positives(strategy):
    """Counted over many batches, the share of an item is exp(log_q_batch)."""
    problem = small_problem(DATA, positives__strategy=strategy)
    rows = problem.order.batches(0, 5_000)
    share = np.bincount(np.asarray(problem.data.item)[rows].ravel(), minlength=40)
    share = share / share.sum()
    stated = np.exp(np.asarray(problem.program.log_q_batch))
    np.testing.assert_allclose(share, stated, atol=4e-3)
    plain = np.exp(np.asarray(small_problem(DATA).program.log_q_batch))
    assert np.abs(stated - plain).max() > 0.02


def test_reweighting_undoes_the_weights():
    """The weights of rows times their frequency are the shares before resampling."""
    problem = small_problem(
        DATA, positives__strategy="downsample_hot", positives__reweight=True
    )
    weight = np.asarray(problem.program.positive_weight[0])
    resampled = np.exp(np.asarray(problem.program.log_q_batch)) * weight
    np.testing.assert_allclose(
        resampled / resampled.sum(), DATA.counts / DATA.counts.sum(), rtol=1e-4
    )
    assert small_problem(DATA).program.positive_weight == ()


STAGES = {
    "user": np.repeat(np.arange(30), 3),
    "item": np.tile(np.arange(3), 30),
    "stage": np.full(90, Stage.RANKED),
    "request": np.repeat(np.arange(30), 3),
}
NUMBERS = (
    {"negatives__hard_ratio": 0.125},
    {"negatives__hard_ratio": 1.0, "negatives__hard_start": 0.25},
    {"negatives__hard_ratio": 0.5, "negatives__easy__sampler": "log_uniform"},
    {"negatives__hard_ratio": 0.5, "loss__temperature": 0.4},
    {"negatives__hard_ratio": 0.5, "positives__strategy": "downsample_hot"},
    {"negatives__hard_ratio": 0.5, "negatives__bank__warmup": 0.3},
)


def test_arms_that_differ_in_numbers_are_one_program():
    """Equal static parts and equal shapes: jit has nothing to compile again."""
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40, STAGES, np.arange(400) % 30)
    kinds = set()
    for keys in NUMBERS:
        problem = small_problem(
            data,
            negatives__easy__num=4,
            negatives__hard__num=4,
            negatives__hard__stages=["ranked"],
            negatives__hard__pool="user",
            negatives__bank__size=16,
            **keys,
        )
        arrays = (problem.program, problem.data, problem.start())
        shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays)]
        kinds.add((tuple(shapes), jax.tree.structure(arrays)))
    assert len(kinds) == 1


@pytest.mark.parametrize("layout", ["shared", "per_row"])
@pytest.mark.parametrize("source", ["log", "dns", "mined"])
def test_a_hard_ratio_of_zero_is_easy_negatives_only(layout, source):
    """The same program with the same numbers gives the same bits."""
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40, STAGES, np.arange(400) % 30)
    keys = {"negatives__layout": layout, "negatives__in_batch": False}
    window = {
        "negatives__hard__mined__range_min": 10,
        "negatives__hard__mined__range_max": 30,
    }
    zero = small_problem(
        data,
        negatives__easy__num=4,
        negatives__hard__num=4,
        negatives__hard__source=source,
        negatives__hard__log_q="easy",
        negatives__hard_ratio=0.0,
        **(window if source == "mined" else {}),
        **keys,
    )
    easy = small_problem(
        data, negatives__easy__num=8 if layout == "per_row" else 4, **keys
    )
    assert jax.tree.structure(zero.program) == jax.tree.structure(easy.program)
    assert zero.memories == () and zero.data.pools is None
    for one, other in zip(
        jax.tree.leaves((zero.program, zero.data)),
        jax.tree.leaves((easy.program, easy.data)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    rising = {"negatives__hard_start": 0.5, "negatives__hard__stages": ["ranked"]}
    curriculum = small_problem(
        data,
        negatives__easy__num=4,
        negatives__hard__num=4,
        negatives__hard__pool="user",
        negatives__hard_ratio=0.0,
        negatives__hard__log_q="easy",
        **(keys | rising),
    )
    assert curriculum.program.negatives.hard_num == 4
