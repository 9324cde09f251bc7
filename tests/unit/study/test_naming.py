"""What arms are called: their label, else the keys in which they differ."""

from typing import Any

import pytest
from helpers.configs import with_choice

from twotower_jax.config import Config, from_dict, known_keys, to_dict
from twotower_jax.study.naming import differing_keys, name_arms, short_key


def config(**changes: Any) -> dict[str, Any]:
    """Return the default config with changes, keys dotted by two underscores."""
    values = to_dict(Config())
    for key, value in changes.items():
        *groups, last = key.split("__")
        inner = values
        for group in groups:
            inner = inner[group]
        inner[last] = value
    return values


def test_group_of_a_key_is_dropped():
    configs = [
        config(negatives__in_batch=True, loss__logq__correct="none"),
        config(negatives__in_batch=False, loss__logq__correct="all"),
    ]
    expected = ["in_batch=true logq.correct=none", "in_batch=false logq.correct=all"]
    assert name_arms(configs) == expected


def test_group_is_kept_where_the_rest_is_ambiguous_and_stands_for_its_choice():
    one = {"loss": {"name": "bpr"}, "a": {"x": 1}, "b": {"x": 1}}
    two = {"loss": {"name": "ssm"}, "a": {"x": 2}, "b": {"x": 2}}
    expected = ["loss=bpr a.x=1 b.x=1", "loss=ssm a.x=2 b.x=2"]
    assert name_arms([one, two]) == expected


# The values of a sweep over one key, and the names of its arms.
SWEEPS = {
    "positives.strategy": (
        ["none", "upsample_cold"],
        ["positives=none", "positives=upsample_cold"],
    ),
    "positives.exponent": (
        [0.5, 1.0],
        ["positives.exponent=0.5", "positives.exponent=1"],
    ),
    "positives.cap": ([10, 100], ["positives.cap=10", "positives.cap=100"]),
    "negatives.hard_ratio": (
        [0.0, 0.5, 1.0],
        ["hard_ratio=0", "hard_ratio=0.5", "hard_ratio=1"],
    ),
    "negatives.hard_start": ([None, 0.0], ["hard_start=null", "hard_start=0"]),
    "negatives.hard.num": ([4, 8], ["hard.num=4", "hard.num=8"]),
    "negatives.hard.stages": (
        [["ranked"], ["pre_ranked", "ranked:10-50"]],
        ["hard.stages=[ranked]", "hard.stages=[pre_ranked,ranked:10-50]"],
    ),
    "negatives.hard.log_q": (["easy", "none"], ["hard.log_q=easy", "hard.log_q=none"]),
    "negatives.hard.mined.every": (
        [0.1, 0.05],
        ["hard.mined.every=0.1", "hard.mined.every=0.05"],
    ),
    "negatives.bank.size": ([0, 4096], ["bank.size=0", "bank.size=4096"]),
    "negatives.layout": (["shared", "per_row"], ["layout=shared", "layout=per_row"]),
    "loss.name": (["bce", "hinge"], ["loss=bce", "loss=hinge"]),
    "loss.ratio": ([None, 4.0], ["loss.ratio=null", "loss.ratio=4"]),
    "loss.margin": ([0.1, 0.2], ["margin=0.1", "margin=0.2"]),
    "loss.logq.frequency": (
        ["counts", "streaming"],
        ["logq.frequency=counts", "logq.frequency=streaming"],
    ),
    "optimizer.name": (["adam", "adagrad"], ["optimizer=adam", "optimizer=adagrad"]),
    "evaluation.k": ([[20], [10, 20]], ["evaluation.k=[20]", "evaluation.k=[10,20]"]),
}


@pytest.mark.parametrize("key", SWEEPS)
def test_arms_of_a_sweep(key):
    values, names = SWEEPS[key]
    configs = []
    for value in values:
        base = config(
            negatives__easy__num=64,
            negatives__hard__num=4,
            negatives__hard_ratio=0.25,
            negatives__hard__weights=[],
        )
        with_choice(base, key, value)
        *sections, last = key.split(".")
        place = base
        for section in sections:
            place = place[section]
        place[last] = value
        configs.append(to_dict(from_dict(base)))  # as config.yaml holds it
    assert name_arms(configs) == names


def test_two_swept_keys_are_named_side_by_side():
    configs = [
        config(positives__strategy=strategy, negatives__bank__size=size)
        for strategy in ("none", "cap")
        for size in (0, 512)
    ]
    assert name_arms(configs) == [
        "positives=none bank.size=0",
        "positives=none bank.size=512",
        "positives=cap bank.size=0",
        "positives=cap bank.size=512",
    ]


def negatives(in_batch, easy=0, sampler="uniform", hard=0, bank=0, **changes):
    """Return a config of the named sources; a source of 0 is off."""
    return config(
        negatives__in_batch=in_batch,
        negatives__easy__num=easy,
        negatives__easy__sampler=sampler,
        negatives__hard__num=hard,
        negatives__hard__source="log" if hard < 8 else "mined",
        negatives__bank__size=bank,
        negatives__bank__warmup=0.5 if bank else 0,
        **changes,
    )


def test_sources_that_are_off_are_not_named():
    configs = [
        negatives(True),
        negatives(False, easy=1024),
        negatives(False, easy=1024, sampler="popularity"),
        negatives(True, hard=4),
        negatives(True, hard=8),
        negatives(True, bank=8192),
    ]
    assert name_arms(configs) == [
        "in_batch=true",
        "in_batch=false easy.sampler=uniform easy.num=1024",
        "in_batch=false easy.sampler=popularity easy.num=1024",
        "in_batch=true hard.source=log hard.num=4",
        "in_batch=true hard.source=mined hard.num=8",
        "in_batch=true bank.size=8192 bank.warmup=0.5",
    ]


def test_a_source_that_is_off_is_named_where_nothing_else_differs():
    configs = [negatives(True, bank=0), negatives(True, bank=8)]
    assert name_arms(configs) == [
        "bank.size=0 bank.warmup=0",
        "bank.size=8 bank.warmup=0.5",
    ]


@pytest.mark.parametrize("arm", [None, "x"])
def test_arms_that_differ_in_what_is_off_are_not_merged(arm):
    configs = [
        negatives(True, sampler="uniform", arm=arm),
        negatives(True, sampler="popularity", arm=arm),
        negatives(False, easy=8, arm=arm),
    ]
    before = "" if arm is None else f"{arm} "
    assert name_arms([*configs, configs[0]]) == [
        f"{before}in_batch=true easy.sampler=uniform",
        f"{before}in_batch=true easy.sampler=popularity",
        f"{before}in_batch=false easy.sampler=uniform easy.num=8",
        f"{before}in_batch=true easy.sampler=uniform",
    ]


def test_values_that_a_model_does_not_read_are_not_named():
    one = {"query": ["id"], "history_length": 20, "history_pooling": "mean"}
    other = {"query": ["history"], "history_length": 50}
    other |= {"history_pooling": "transformer"}
    longer = one | {"history_length": 30}
    configs = [{"towers": towers} for towers in (one, other)]
    assert name_arms(configs) == [
        "query=[id]",
        "query=[history] history_length=50 history_pooling=transformer",
    ]
    names = name_arms([*configs, {"towers": longer}])
    assert names[0] != names[2] and names[2].endswith("history_length=30")


def test_no_two_keys_of_the_schema_have_the_same_short_key():
    keys = known_keys()
    leaves = [key for key in keys if not any(k.startswith(f"{key}.") for k in keys)]
    short = [short_key(key) for key in leaves]
    assert len(set(short)) == len(short)
    assert all(word in key for key, word in zip(leaves, short, strict=True))


def test_seed_output_and_name_are_no_difference():
    configs = [config(), config(seed=3, output="elsewhere", name="other")]
    assert differing_keys(configs) == []
    assert name_arms(configs) == ["default", "default"]


def test_seed_of_a_group_is_a_difference():
    configs = [config(), config(data__simulator__seed=1)]
    assert name_arms(configs) == ["simulator.seed=0", "simulator.seed=1"]


def test_given_arm_wins():
    configs = [config(arm="base"), config(arm=None, towers__dim=32)]
    assert name_arms(configs) == ["base", "dim=32"]


def test_arms_that_share_a_given_name_are_not_merged():
    configs = [config(arm="x"), config(arm="x", towers__dim=32), config(arm="y")]
    assert name_arms(configs) == ["x dim=64", "x dim=32", "y"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1, 1.0), ("default", "default")),
        (("1", 1), ('x="1"', "x=1")),
        ((None, "null"), ("x=null", 'x="null"')),
        (([128], []), ("x=[128]", "x=[]")),
        ((1e-7, True), ("x=1e-07", "x=true")),
    ],
)
def test_values_are_shown_without_confusion(values, shown):
    assert tuple(name_arms([{"g": {"x": value}} for value in values])) == shown


def test_key_that_only_one_config_has_is_unset_in_the_other():
    assert name_arms([{"g": {"x": 1}}, {"g": {}, "h": 2}]) == [
        "x=1 g=unset h=unset",
        "x=unset g={} h=2",
    ]


def test_control_characters_of_a_given_arm_are_replaced():
    assert name_arms([{"arm": "a\n b\x1b[31m\ud800"}]) == ["a b\ufffd[31m\ufffd"]


def test_the_features_of_towers_do_not_follow_from_their_kind():
    arms = [{"kind": "two_tower", "query": ["id"]}, {"kind": "ease", "query": []}]
    assert name_arms([{"towers": values} for values in arms]) == [
        "towers=two_tower query=[id]",
        "towers=ease query=[]",
    ]
