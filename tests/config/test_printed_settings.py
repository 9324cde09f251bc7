"""The runs of a published table have the settings that its paper prints."""

from operator import attrgetter

import pytest
from hydra import compose, initialize_config_module

from twotower_jax.sweeps.compose import CONF, compose_config

FACTORS = {
    "towers.dim": 64,
    "towers.hidden": (),
    "towers.query": ("id",),
    "towers.candidate": ("id",),
    "towers.normalize": True,
    "training.batch_size": 1024,
    "optimizer.name": "adam",
    "negatives.easy.sampler": "uniform",
}
SASREC = {
    "towers.dim": 64,
    "towers.sequence.layers": 1,
    "towers.sequence.heads": 1,
    "towers.sequence.dropout": 0.2,
    "towers.history_length": 50,
    "towers.normalize": False,
    "loss.name": "sampled_softmax",
    "loss.temperature": 1.0,
    "negatives.easy.num": 256,
    "negatives.layout": "per_row",
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.001,
    "data.split": "leave_last_out",
}


def softmax(rate, temperature, **more):
    """SL or a loss that is made of it; keys with __ for the dots."""
    keys = {key.replace("__", "."): value for key, value in more.items()}
    rates = {"optimizer.learning_rate": rate, "loss.temperature": temperature}
    return FACTORS | {"negatives.easy.num": 1000} | rates | keys


def bsl(factor, temperature):
    """BSL: SL with a factor on the logarithm; its rate and epochs are ours."""
    own = {"negatives.easy.num": 800, "loss.temperature": temperature}
    own |= {"loss.decoupled": True, "towers.query_dropout": 0.1}
    return FACTORS | own | {"loss.negative_weight": factor}


def sl_at_20(rate, temperature, weights):
    """SL@20 with the temperature of its weights."""
    at_k = {"loss__name": "softmax_at_k", "loss__at_k__k": 20}
    return softmax(rate, temperature, **at_k, loss__at_k__temperature=weights)


PRINTED = {
    ("esasrec", "papers/sasrec/printed"): SASREC,
    ("sl_at_k", "papers/sl"): softmax(0.1, 0.2, loss__decoupled=True),
    # Differences of cosines are halved, so that the temperature is half of SL's.
    ("sl_at_k", "papers/psl"): softmax(0.1, 0.1, loss__name="psl"),
    ("sl_at_k", "papers/sl_at_20"): sl_at_20(0.1, 0.2, 2.5),
    ("sl_at_k", "papers/bpr"): FACTORS | {"optimizer.learning_rate": 0.001},
    ("sl_at_k_gowalla", "papers/gowalla/sl"): softmax(0.1, 0.1, loss__decoupled=True),
    ("sl_at_k_gowalla", "papers/gowalla/psl"): softmax(0.1, 0.05, loss__name="psl"),
    ("sl_at_k_gowalla", "papers/gowalla/sl_at_20"): sl_at_20(0.01, 0.1, 1.0),
    ("sl_at_k_gowalla", "papers/gowalla/bpr"): FACTORS
    | {"optimizer.learning_rate": 0.001},
    ("bsl", "papers/sl"): bsl(1.0, 0.08),
    ("bsl", "papers/bsl"): bsl(1.22, 0.08),
    ("bsl_yelp", "papers/sl"): bsl(1.0, 0.11),
    ("bsl_yelp", "papers/yelp/bsl"): bsl(1.1, 0.11),
}


def words_of(experiment, arm):
    """The overrides of the first run of an arm, from the sweeper of an experiment."""
    word = f"experiment=papers/{experiment}"
    with initialize_config_module(CONF, version_base="1.3"):
        whole = compose("config", [word], return_hydra_config=True)
    params = dict(whole.hydra.sweeper.params)
    assert arm in params.pop("arms").split(",")
    first = [f"{key}={str(value).split(',')[0]}" for key, value in params.items()]
    return [word, f"arms={arm}", *first]


@pytest.mark.parametrize(("experiment", "arm"), PRINTED)
def test_the_settings_are_the_printed_ones(experiment, arm):
    config = compose_config(words_of(experiment, arm))
    printed = PRINTED[experiment, arm]
    found = {key: attrgetter(key)(config) for key in printed}
    assert found == printed
    assert config.training.steps is None and config.training.epochs >= 20
