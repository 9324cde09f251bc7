"""Keys of the choices: each has its own, and combinations that are refused."""

import pytest

from twotower_jax.config import from_dict
from twotower_jax.errors import InputError
from twotower_jax.losses import LOSSES
from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.wrong_words import explained

SOFTMAX = ("sampled_softmax", "full_softmax", "softmax_at_k")
COSINE = ("psl", "ccl", "dcl", "hcl")
# {a key with another value: the choices of its section that have it}.
KEYS = {
    "loss.temperature=0.2": {*SOFTMAX, "bce", "gbce", "hinge", "logistic"}
    | {"psl", "dcl", "hcl"},
    "loss.learn_temperature=true": {*SOFTMAX, "bce", "gbce", "logistic"},
    "loss.ratio=2": {"bce", "gbce"},
    "loss.offset=-2": {"bce", "gbce"},
    "loss.margin=0.5": {"hinge", "ccl"},
    "loss.calibration=0.1": {"gbce"},
    "loss.decoupled=true": {*SOFTMAX, "psl"},
    "loss.negative_weight=1.5": {*SOFTMAX, "ccl"},
    "loss.activation=relu": {"psl"},
    "loss.tau_plus=0.2": {"dcl", "hcl"},
    "loss.beta=2": {"hcl"},
    "loss.at_k.k=5": {"softmax_at_k"},
    "loss.two_way.weight=1": {"sampled_softmax"},
    "loss.logq.frequency=streaming": set(LOSSES) - {"full_softmax"},
    "positives.exponent=0.3": {"upsample_cold", "downsample_hot", "power"},
    "positives.cap=7": {"cap"},
    "optimizer.b1=0.5": {"adam", "adam_dense"},
    "optimizer.initial_accumulator=0.3": {"adagrad"},
}


def compose(*words):
    with explained(words):
        config = compose_config(list(words))
    check_names(config)
    return config


@pytest.mark.parametrize("word", KEYS)
def test_a_choice_has_its_own_keys_and_no_others(word):
    """A key of other choices is refused, and the message names them."""
    section, users = word.partition(".")[0], KEYS[word]
    key, _, value = word.partition("=")
    for name in sorted(users)[:2]:
        place = compose(f"{section}={name}", word)
        for part in key.split("."):
            place = getattr(place, part)
        assert str(place).lower().removesuffix(".0") == value
    outside = {"loss": "logistic", "positives": "none", "optimizer": "sgd"}[section]
    if outside in users:
        outside = "full_softmax" if "full_softmax" not in users else "ccl"
    with pytest.raises(InputError) as caught:
        compose(f"{section}={outside}", word)
    text = str(caught.value)
    first = ".".join(key.split(".")[:2])  # Hydra names the section of a key
    assert text.startswith((f"{key} is a key of ", f"{first} is a key of "))
    named = text.partition(f"{section}=")[2].partition(" and")[0]
    assert set(named.split(", ")) == users


@pytest.mark.parametrize(
    ("word", "remedy"),
    [("loss.name=bce", "loss=bce"), ("optimizer.name=sgd", "optimizer=sgd")],
)
def test_the_name_alone_is_answered_with_the_choice(word, remedy):
    with pytest.raises(InputError, match=f"{word} is written {remedy}, which"):
        compose(word)


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
