"""From a configuration to a problem: what is refused, and what numbers become."""

import numpy as np
import pytest
from problems import as_loaded, small_problem, zipf_clicks

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
    stated = np.exp(np.asarray(problem.hyper.log_q_batch))
    np.testing.assert_allclose(share, stated, atol=4e-3)
    plain = np.exp(np.asarray(small_problem(DATA).hyper.log_q_batch))
    assert np.abs(stated - plain).max() > 0.02


def test_reweighting_undoes_the_weights():
    """The weights of rows times their frequency are the shares before resampling."""
    problem = small_problem(
        DATA, positives__strategy="downsample_hot", positives__reweight=True
    )
    weight = np.asarray(problem.hyper.positive_weight)
    resampled = np.exp(np.asarray(problem.hyper.log_q_batch)) * weight
    np.testing.assert_allclose(
        resampled / resampled.sum(), DATA.counts / DATA.counts.sum(), rtol=1e-4
    )
    assert small_problem(DATA).hyper.positive_weight is None
