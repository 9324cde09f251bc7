"""Keys without an effect: changing all of them at once leaves every metric's bits."""

import pytest
from helpers import tiny
from helpers.configs import with_choice
from helpers.effects import declared_effects

from twotower_jax.config import from_dict, to_dict
from twotower_jax.config.convert import idle_keys
from twotower_jax.run import run

# Another value for every key that another one may turn off.
OTHERS = {
    "negatives.in_batch": False,
    "negatives.layout": "per_row",
    "negatives.easy.sampler": "log_uniform",
    "negatives.easy.alpha": 0.3,
    "negatives.easy.smoothing": 2.0,
    "negatives.easy.num": 32,
    "negatives.hard.source": "dns",
    "negatives.hard.stages": ["retrieved"],
    "negatives.hard.weights": [],
    "negatives.hard.pool": "user",
    "negatives.hard.pool_size": 7,
    "negatives.hard.num": 3,
    "negatives.hard.log_q": "none",
    "negatives.hard.candidate_num": 3,
    "negatives.hard_ramp": 0.5,
    "negatives.num_hard_negatives": 5,
    "negatives.allow_exposed": True,
    "loss.logq.correct": "negatives",
    "loss.logq.frequency": "streaming",
    "loss.logq.streaming.buckets": 64,
    "loss.logq.streaming.hashes": 3,
    "loss.logq.streaming.alpha": 0.5,
    "loss.logq.streaming.initial_gap": 9.0,
    "loss.temperature_rate": 0.5,
    "loss.temperature_min": 0.01,
    "loss.temperature_max": 3.0,
    "positives.lists.length": 3,
    "positives.lists.weight": 0.7,
    "towers.history_length": 3,
    "towers.history_pooling": "attention",
    "towers.history_half_life": 2.0,
    "towers.history_table": "shared",
    "towers.history_features": ["id"],
    "training.epochs": 3,
    "training.min_steps": 3,
    "training.eval_every": 4,
    "training.steps_per_dispatch": 3,
    "training.feed": "host",
    "training.checkpoint_every": 4,
    "evaluation.k": [10, 20, 30],
    "evaluation.save_topk": True,
    "loss.two_way.correct": "users",
    "loss.self_supervised.num": 16,
    "loss.self_supervised.temperature": 0.5,
    "negatives.filter.warmup": 0.5,
    "evaluation.uniform_exposures": 5,
    "evaluation.auc": ["uniform"],
    "evaluation.ips_clip": 2.0,
}
# Keys that another key forbids to change while they have no effect, and those that
# change the order of sums.
FIXED = {
    "data.path",
    "data.columns.weight",
    "training.mesh.data",
    "training.mesh.table",
    "loss.stage_pairs.weight",
    "loss.two_way.weight",
    "negatives.hard_ratio",
    "negatives.hard_start",
    "training.merge_columns",
    "training.devices",
    "loss.logq.strength",
    "evaluation.test",
    "evaluation.truth",
    "towers.sequence.layers",
    "towers.sequence.heads",
    "towers.sequence.dropout",
    "towers.sequence.longer",
}
TAGS = ("negatives.easy.sampler", "negatives.hard.source")
MANY = (
    "baseline.",
    "negatives.bank.",
    "negatives.hard.mined.",
)  # sections whose keys all follow


def changed(values: dict, keys: set[str]) -> dict:
    """Return a configuration with other values for some keys."""
    # Another choice comes first: it has other keys.
    for key in sorted(keys & set(OTHERS), key=lambda key: key not in TAGS):
        if key in TAGS:
            with_choice(values, key, OTHERS[key])
            continue
        *sections, name = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        if name in place:
            place[name] = OTHERS[key]
    return values


def test_every_key_that_may_have_no_effect_is_changed_here():
    ruled = set(declared_effects())
    assert ruled - set(OTHERS) - FIXED == {k for k in ruled if k.startswith(MANY)}


@pytest.mark.parametrize(
    "words",
    [
        (
            *("positives=upsample_cold", "negatives=in_batch"),
            *("loss.logq.correct=none", "evaluation.ips_power=0"),
        ),
        pytest.param(
            ("arms=slots/uniform", "data.fit_valid=true", "training.patience=0"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("loss=full_softmax", "optimizer=adam"), marks=pytest.mark.slow),
        pytest.param(("arms=slots/half_hard",), marks=pytest.mark.slow),
        pytest.param(
            (
                *("negatives=uniform", "negatives.easy.num=32", "loss=bce"),
                *("negatives.hard.num=2", "negatives.hard_ratio=0"),
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_keys_without_an_effect_change_no_bit(tmp_path, words):
    short = ("training.steps=6", "training.eval_every=6", "training.batch_size=64")
    config = tiny.make_config(tmp_path, *words, *short)
    idle = idle_keys(to_dict(config))
    assert len(idle & set(OTHERS)) > 15
    other = from_dict(changed(to_dict(config), idle))
    assert other != config
    ours, theirs = (run(one)["metrics"]["test"] for one in (config, other))
    assert ours.items() <= theirs.items()
