"""The queries of a split: which items their positives are compared with."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, configure

from twotower_jax.data.log import Pairs, Split
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.run.rank import make_query_set, rank

# User 0 clicked item 3 in training and item 1 in validation; the test has item 0.
TRAIN = Pairs(np.array([0, 1], np.int32), np.array([3, 2], np.int32))
VALID = Pairs(np.array([0], np.int32), np.array([1], np.int32))
TEST = Pairs(np.array([0], np.int32), np.array([0], np.int32))


@pytest.mark.parametrize("mask_seen", [True, False])
def test_earlier_positives_of_the_user_do_not_lower_the_auc(mask_seen):
    config = configure(
        data__mask_seen=mask_seen, evaluation__auc=("uniform",), evaluation__k=(2,)
    )
    data = as_loaded(TRAIN.user, TRAIN.item, 2, 5)
    data = data._replace(split=Split(TRAIN, VALID, TEST))
    # Items 1 and 3 are ahead of the positive, items 2 and 4 are behind it.
    embedded = Embeddings(
        jnp.ones((1, 1)), jnp.array([[2.0], [3.0], [1.0], [4.0], [0.0]])
    )
    queries = make_query_set(config, data, "test")
    assert queries is not None
    assert set(queries.rivals["uniform"].items.tolist()) == {2, 4}
    assert rank(config, data, queries, embedded).metrics()["auc@uniform"] == 1.0


@pytest.mark.parametrize(("power", "expected"), [(0.0, 1 / 2), (0.5, 2 / 3)])
def test_clicks_on_rare_items_have_more_weight_in_ips_recall(power, expected):
    # Item 0 has four training clicks, item 1 one; each is the positive of one user.
    # The weights are 1/2 and 1, with the mean 3/4; item 1 alone is found.
    config = configure(
        evaluation__ips_power=power, evaluation__k=(1,), data__mask_seen=False
    )
    train = Pairs(np.array([0, 1, 1, 0, 0], np.int32), np.array([0, 0, 0, 0, 1]))
    test = Pairs(np.array([0, 1], np.int32), np.array([0, 1], np.int32))
    data = as_loaded(train.user, train.item, 2, 3)
    data = data._replace(split=Split(train, VALID, test))
    embedded = Embeddings(jnp.ones((2, 1)), jnp.array([[1.0], [2.0], [0.0]]))
    queries = make_query_set(config, data, "test")
    assert queries is not None
    found = rank(config, data, queries, embedded).metrics()
    assert found["recall@1"] == 1 / 2
    assert found["ips_recall@1"] == pytest.approx(expected, rel=1e-12)
