"""Keys of the losses: what each loss uses, and combinations that are refused."""

import pytest
from helpers.quick import quick

from twotower_jax.config import from_dict
from twotower_jax.config.loss import LossConfig
from twotower_jax.config.loss_use import COSINE, KNOWN, USED_BY
from twotower_jax.errors import InputError
from twotower_jax.losses.cosine import ACTIVATIONS
from twotower_jax.losses.registry import LOSSES
from twotower_jax.run.names import check_names
from twotower_jax.sweeps.compose import compose_config

OTHERS = {
    "loss.temperature": 0.2,
    "loss.ratio": 2.0,
    "loss.margin": 0.5,
    "loss.calibration": 0.1,
    "loss.offset": -2.0,
    "loss.decoupled": "true",
    "loss.negative_weight": 1.5,
    "loss.activation": "relu",
    "loss.tau_plus": 0.2,
    "loss.beta": 2.0,
    "loss.at_k.k": 5,
    "loss.at_k.temperature": 2.0,
    "loss.at_k.sampled": 50,
    "loss.at_k.every": 0.3,
}


def compose(*words):
    config = compose_config(list(words))
    check_names(config)
    return config


def users(key):
    """Return the losses that use a key of OTHERS."""
    return USED_BY["loss.at_k" if "at_k" in key else key]


def test_the_lists_hold_the_losses_of_the_registry():
    assert set(LOSSES) == KNOWN
    assert {name for name, loss in LOSSES.items() if loss.importance} == set(COSINE)
    softmaxes = {name for name, loss in LOSSES.items() if loss.softmax}
    assert softmaxes | {"psl"} == set(USED_BY["loss.decoupled"])
    assert set(USED_BY["loss.at_k"]) == {n for n, loss in LOSSES.items() if loss.at_k}
    for activation in ACTIVATIONS:
        assert LossConfig(name="psl", activation=activation).activation == activation


def some_losses(key):
    """Return a loss that uses a key of OTHERS, and one that does not."""
    return [users(key)[0], min(set(LOSSES) - set(users(key)))]


def every_loss(key):
    return sorted(LOSSES)


@pytest.mark.parametrize("losses", quick([some_losses, every_loss], [some_losses]))
@pytest.mark.parametrize("key", OTHERS)
def test_a_key_that_the_loss_does_not_use_is_refused(key, losses):
    """With key, value, the default and the losses that use it."""
    word = f"{key}={OTHERS[key]}"
    for name in losses(key):
        if name in users(key):
            compose(f"loss={name}", word)
            continue
        with pytest.raises(InputError) as caught:
            compose(f"loss={name}", word)
        text = str(caught.value)
        assert text.startswith(f"{word} has no use with loss.name={name}; set {key}=")
        assert text.endswith(": " + ", ".join(users(key)))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["loss=psl", "towers.normalize=false"],
            ["loss.name=psl needs cosines", "set towers.normalize=true"],
        ),
        (
            ["loss=softmax_at_k", "towers.normalize=false"],
            ["loss.name=softmax_at_k needs cosines", "towers.normalize=true"],
        ),
        (
            ["loss.negative_weight=1.2", "towers.normalize=false"],
            ["loss.negative_weight=1.2 needs cosines", "towers.normalize=true"],
        ),
        *(
            (
                [f"loss={name}", "loss.logq.correct=all"],
                ["loss.logq.correct=all", f"loss.name={name}", "correct=negatives"],
            )
            for name in COSINE
        ),
        *(
            (
                [f"loss={name}", "loss.learn_temperature=true"],
                ["learn_temperature=true", f"loss.name={name}", "=false"],
            )
            for name in COSINE
        ),
        (
            ["loss=softmax_at_k", "negatives=top_k_in_batch"],
            ["negatives.num_hard_negatives=", "softmax_at_k", "num_hard_negatives=0"],
        ),
        (
            ["loss=softmax_at_k", "loss.at_k.k=50", "loss.at_k.sampled=40"],
            ["loss.at_k.k=50", "loss.at_k.sampled=40", "raise loss.at_k.sampled"],
        ),
        (["loss=hcl", "loss.beta=-1"], ["loss.beta=-1", "out of range"]),
        (["loss=dcl", "loss.tau_plus=1"], ["loss.tau_plus=1", "between 0 and 0.99"]),
        (["loss=psl", "loss.activation=exp"], ["loss.activation='exp'", "atan, relu"]),
        (["loss.negative_weight=0"], ["loss.negative_weight=0", "above 0"]),
        (["loss.logq.strength=1.5"], ["loss.logq.strength=1.5", "between 0 and 1"]),
        (
            ["loss.logq.correct=none", "loss.logq.strength=0.5"],
            ["loss.logq.strength=0.5 has no use", "correct=all", "strength=1"],
        ),
        (
            ["loss=softmax_at_k", "loss.at_k.every=5"],
            ["loss.at_k.every=5", "share of the training"],
        ),
    ],
)
def test_a_combination_that_cannot_work_is_refused(words, parts):
    with pytest.raises(InputError) as caught:
        compose(*words)
    for part in parts:
        assert part in str(caught.value)


def test_python_has_the_defaults_of_the_options():
    psl = from_dict({"loss": {"name": "psl"}}).loss
    assert psl.decoupled and psl.temperature == 0.05 and psl.logq.correct == "none"
    ccl = from_dict({"loss": {"name": "ccl", "margin": 0.9}}).loss
    assert (ccl.margin, ccl.negative_weight) == (0.9, 150.0)
    assert from_dict({"loss": {"name": "softmax_at_k"}}).loss.decoupled
    assert not from_dict({}).loss.decoupled
