"""Serving by the corrected logit: the order of items is that of training's logits."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks

from twotower_jax.run.evaluate import subtracted_log_q

USERS, ITEMS, BATCH, T = 30, 12, 16, 0.2


@pytest.fixture(scope="module")
def data():
    user, item = zipf_clicks(USERS, ITEMS - 1, 400)  # the last item has no click
    return as_loaded(user, item, USERS, ITEMS)


def offsets(data, **keys):
    keys = {"training__batch_size": BATCH, "loss__temperature": T} | keys
    problem = small_problem(data, **keys)
    return np.asarray(subtracted_log_q(problem, problem.start().params, BATCH))


def test_in_batch_items_lose_the_log_of_their_share(data):
    share = data.counts / data.counts.sum()
    drawn = data.counts > 0
    expected = -T * np.log((BATCH - 1) * share[drawn])
    found = offsets(data)
    np.testing.assert_allclose(found[drawn], expected, rtol=1e-5)
    assert found[~drawn] == pytest.approx(expected.max(), rel=1e-5)


def test_a_mixture_counts_every_source(data):
    share = data.counts / data.counts.sum()
    expected = -T * np.log((BATCH - 1) * share + 8 / ITEMS)
    found = offsets(data, negatives__easy={"sampler": "uniform", "num": 8})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_uniform_negatives_change_no_order(data):
    easy = {"sampler": "uniform", "num": 8}
    found = offsets(data, negatives__in_batch=False, negatives__easy=easy)
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_a_learned_temperature_is_the_one_of_the_params(data):
    problem = small_problem(data, loss__learn_temperature=True, loss__temperature=T)
    params = problem.start().params
    before = subtracted_log_q(problem, params, BATCH)
    doubled = params | {"log_temperature": jnp.log(jnp.float32(2 * T))}
    after = subtracted_log_q(problem, doubled, BATCH)
    np.testing.assert_allclose(after, 2 * np.asarray(before), rtol=1e-5)
