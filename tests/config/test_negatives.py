"""Values of positives, negatives and loss: errors name wrong ones and a remedy."""

from operator import attrgetter

import pytest

from twotower_jax.config import Config, from_dict
from twotower_jax.config.convert import choices_with, family_of
from twotower_jax.errors import InputError
from twotower_jax.negatives.config import BankConfig, NegativesConfig
from twotower_jax.negatives.funnel import STAGES, Funnel, parse_stage
from twotower_jax.negatives.mined import MinedConfig
from twotower_jax.negatives.samplers import Popularity

NAN = float("nan")


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merge(*trees):
    """Return dictionaries as one, deep; the last value of a key holds."""
    out = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merge(out[key], value) if both else value
    return out


def make(values):
    """Return the configuration of {dotted key: value}."""
    named = [nested(key, value) for key, value in values.items()]
    return from_dict(merge(*map(choosing, values), *named))


def choosing(key):
    """Return the first choice of a section that has a key; {} where the default has."""
    family, names = family_of(key), choices_with(key)
    if family is None or attrgetter(family.key)(Config()) in names:
        return {}
    return nested(family.key, names[0])


# --------------------------------------------------------------------- single values

RANGES = [
    # key, wrong values, right values at the ends, the remedy
    ("positives.exponent", (-0.1, 4.1, NAN), (0, 4), "between 0 and 4"),
    ("positives.reference", (0.0, -1.0), (1e-9, None), "above 0"),
    ("positives.max_repeat", (0,), (1,), "at least 1"),
    ("positives.threshold", (0.0, NAN), (1e-12,), "above 0"),
    ("positives.cap", (0, -5), (1,), "at least 1"),
    ("negatives.easy.alpha", (-0.1, 2.1), (0, 2), "between 0 and 2"),
    ("negatives.easy.smoothing", (0.0, -1.0), (1e-6,), "above 0"),
    ("negatives.easy.num", (-1,), (0, 100_000), "at least 0"),
    ("negatives.hard.num", (-1,), (0, 8), "at least 0"),
    ("negatives.hard.pool_size", (0,), (1, 10_000), "at least 1"),
    ("negatives.hard.candidate_num", (1, 0), (2,), "at least 2"),
    ("negatives.hard.mined.every", (0.0, -0.1), (0.001, 0.89), "above 0"),
    ("negatives.hard.mined.warmup", (0.0, -0.1), (0.001, 0.89), "above 0"),
    ("negatives.hard.mined.range_min", (-1,), (0,), "at least 0"),
    ("negatives.bank.size", (-1,), (0, 4096), "at least 0"),
    ("negatives.bank.warmup", (-0.1, NAN), (0, 0.999), "at least 0"),
    ("negatives.num_hard_negatives", (-1,), (0, 50), "at least 0"),
    ("negatives.filter.gamma", (0.0, -0.9), (0.95, 2, None), "above 0"),
    ("negatives.filter.warmup", (-0.1, NAN), (0, 0.999), "at least 0"),
    ("negatives.hard_ratio", (-0.1, 1.1, NAN), (), "between 0 and 1"),
    ("negatives.hard_start", (-0.1, 1.1, NAN), (), "between 0 and 1"),
    ("negatives.hard_ramp", (-0.1, 1.1), (0, 1), "between 0 and 1"),
    ("loss.temperature", (0.0, -0.07), (1e-3,), "above 0"),
    ("loss.ratio", (0.0, -1.0), (0.5, None), "above 0"),
    ("loss.margin", (0.0,), (0.01,), "above 0"),
    ("loss.calibration", (-0.1, 1.5), (0, 1), "between 0 and 1"),
    ("loss.logq.streaming.buckets", (0,), (1, None), "at least 1"),
    ("loss.logq.streaming.hashes", (0, 17), (1, 16), "between 1 and 16"),
    ("loss.logq.streaming.alpha", (-0.01, 1.01), (0, 1), "between 0 and 1"),
    ("loss.logq.streaming.initial_gap", (0.5,), (1,), "at least 1"),
]
WRONG = [(key, value, remedy) for key, bad, _, remedy in RANGES for value in bad]
RIGHT = [(key, value) for key, _, good, _ in RANGES for value in good]


@pytest.mark.parametrize(("key", "value", "remedy"), WRONG)
def test_a_value_out_of_range_is_named_with_the_range(key, value, remedy):
    with pytest.raises(InputError) as caught:
        make({key: value})
    message = f"{key}={value} is out of range; give a value {remedy}"
    assert str(caught.value) == message


@pytest.mark.parametrize(("key", "value"), RIGHT)
def test_the_ends_of_a_range_are_right(key, value):
    found = make({key: value})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


CHOICES = [
    ("negatives.layout", "rows", ("per_row", "shared")),
    ("negatives.mask", "all", ("none", "same_item", "user_positives")),
    ("negatives.hard.pool", "session", ("request", "user")),
    ("negatives.hard.log_q", "hard", ("easy", "mixture", "none")),
    ("loss.logq.correct", "positives", ("all", "negatives", "none")),
    ("loss.logq.frequency", "exact", ("counts", "streaming")),
]


@pytest.mark.parametrize(("key", "value", "known"), CHOICES)
def test_an_unknown_choice_lists_all_choices(key, value, known):
    message = f"{key}={value!r} is unknown; choose one of: {', '.join(known)}"
    with pytest.raises(InputError) as caught:
        make({key: value})
    assert str(caught.value) == message
    for name in known:
        make({key: name})


# ---------------------------------------------------------------------------- stages


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_read_with_and_without_a_window(name):
    assert parse_stage(name) == (name, 0, None)
    assert parse_stage(f"{name}:0-1") == (name, 0, 1)
    assert parse_stage(f"{name}:10-050") == (name, 10, 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clicked", "='clicked' is unknown; choose one of: exposed, pre_ranked, rank"),
        ("pre-ranked", "='pre-ranked' is not a stage; write one such as ranked, or"),
        ("", "='' is not a stage; write one such as ranked"),
        ("Ranked", "='Ranked' is not a stage"),
        ("ranked:", "='ranked:' is not a stage"),
        ("ranked:10", "='ranked:10' is not a stage; .* pre_ranked:50-100"),
        ("ranked:-1-5", "='ranked:-1-5' is not a stage"),
        ("ranked: 1-5", "='ranked: 1-5' is not a stage"),
        ("ranked:1-5,9", "='ranked:1-5,9' is not a stage"),
        ("ranked:1.5-3", "='ranked:1.5-3' is not a stage"),
        ("ranked:5-5", "='ranked:5-5' has an empty window of ranks; the second number"),
        ("ranked:9-3", "='ranked:9-3' has an empty window .* must be the larger one"),
        ("wrong:1-3", "='wrong' is unknown; choose one of: exposed, "),
    ],
)
def test_a_stage_that_cannot_be_read_is_named(text, message):
    with pytest.raises(InputError, match=f"^negatives.hard.stages{message}"):
        make({"negatives.hard.stages": ["ranked", text]})


@pytest.mark.parametrize(
    ("stages", "weights"),
    [(["ranked"], [1, 2]), (["ranked", "pre_ranked"], [1]), ([], [1])],
)
def test_weights_that_are_not_one_a_stage_are_refused(stages, weights):
    with pytest.raises(InputError) as caught:
        make({"negatives.hard.stages": stages, "negatives.hard.weights": weights})
    floats = [float(weight) for weight in weights]
    assert str(caught.value) == (
        f"negatives.hard.weights={floats} must have one weight for each of "
        f"negatives.hard.stages={stages}, or be []"
    )


@pytest.mark.parametrize("weight", [0.0, -1.0, NAN])
def test_weights_that_are_no_weights_are_refused(weight):
    message = f"negatives.hard.weights={weight} is out of range; give a value above 0"
    with pytest.raises(InputError, match=f"^{message}$"):
        make({"negatives.hard.weights": [1, weight]})


def test_stages_and_weights_of_lists_become_tuples():
    config = make(
        {
            "negatives.hard.stages": ["ranked:0-10", "retrieved"],
            "negatives.hard.weights": [2, 0.5],
        }
    )
    assert config.negatives.hard.stages == ("ranked:0-10", "retrieved")
    assert config.negatives.hard.weights == (2.0, 0.5)
    assert hash(config.negatives) == hash(config.negatives)


@pytest.mark.parametrize("value", [1, 1.0, 1000])
@pytest.mark.parametrize(
    "key",
    [
        "negatives.bank.warmup",
        "negatives.hard.mined.warmup",
        "negatives.hard.mined.every",
    ],
)
def test_a_number_of_steps_in_place_of_a_share_is_named(key, value):
    with pytest.raises(InputError) as caught:
        make({key: value})
    assert str(caught.value) == (
        f"{key}={float(value)} is now a share of the training; give a value below 1, "
        "such as 0.1 for a tenth of its steps"
    )


def test_shares_without_time_for_a_second_mining_are_refused():
    with pytest.raises(InputError, match=r"every=0\.6 after .*warmup=0\.4 leaves no"):
        MinedConfig(warmup=0.4, every=0.6)
    assert MinedConfig(warmup=0.4, every=0.59).every == 0.59


def test_an_empty_window_of_mined_ranks_is_refused():
    for low, high in ((100, 100), (100, 50)):
        with pytest.raises(InputError) as caught:
            MinedConfig(range_min=low, range_max=high)
        assert str(caught.value) == (
            f"negatives.hard.mined.range_max={high} must be above "
            f"negatives.hard.mined.range_min={low}; ranks are [range_min, range_max), "
            "from 0"
        )
    assert MinedConfig(range_min=0, range_max=1).range_max == 1


# ---------------------------------------------------------------------- combinations

COMBINATIONS = {
    "dns without an exact log q": (
        {"negatives.hard.source": "dns", "negatives.hard.num": 4},
        "negatives.hard.log_q=mixture cannot be computed for negatives/hard=dns "
        "in training: .* set negatives.hard.log_q=easy or none",
    ),
    "exposed": (
        {
            "negatives.hard.stages": ["ranked", "exposed"],
            "negatives.hard.num": 4,
        },
        r"negatives.hard.stages=\['ranked', 'exposed'\] makes items that were shown "
        ".* a well-known mistake.* leave them out, or set negatives.allow_exposed=true",
    ),
    "exposed in a window": (
        {"negatives.hard.stages": ["exposed:3-9"], "negatives.hard.num": 1},
        r"negatives.hard.stages=\['exposed:3-9'\] makes .*negatives.allow_exposed=true",
    ),
    "a start without an end": (
        {"negatives.hard_start": 0.5},
        "negatives.hard_start=0.5 is the start of a schedule that ends at "
        "negatives.hard_ratio, which is null; set hard_ratio too",
    ),
    "a ratio without hard slots": (
        {"negatives.hard_ratio": 0.5, "negatives.easy.num": 8},
        "negatives.hard_ratio=0.5 mixes the slots of negatives.hard.num=0 with easy "
        "ones; set negatives.hard.num above 0, or negatives.hard_ratio=null",
    ),
    "a ratio without easy slots": (
        {"negatives.hard_ratio": 0.5, "negatives.hard.num": 8},
        "negatives.hard_ratio=0.5 mixes hard slots with the negatives.easy.num=0 easy "
        "ones; set negatives.easy.num above 0, or negatives.hard_ratio=null",
    ),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_values_that_do_not_fit_each_other_are_named(name):
    values, message = COMBINATIONS[name]
    with pytest.raises(InputError, match=f"^{message}"):
        make(values)


GOOD = {
    "dns with easy log q": {
        "negatives.hard.source": "dns",
        "negatives.hard.num": 4,
        "negatives.hard.log_q": "easy",
    },
    "dns that draws nothing": {"negatives.hard.source": "dns"},
    "exposed that was asked for": {
        "negatives.hard.stages": ["exposed"],
        "negatives.hard.num": 4,
        "negatives.allow_exposed": True,
    },
    "exposed that draws nothing": {"negatives.hard.stages": ["exposed"]},
    "a ratio of both": {
        "negatives.hard_ratio": 0.5,
        "negatives.hard.num": 8,
        "negatives.easy.num": 8,
    },
    "a ratio of a row's own slots": {
        "negatives.layout": "per_row",
        "negatives.hard_ratio": 1.0,
        "negatives.hard.num": 8,
    },
    "a schedule": {
        "negatives.hard_start": 0.0,
        "negatives.hard_ratio": 0.5,
        "negatives.hard_ramp": 0.25,
        "negatives.hard.num": 8,
        "negatives.easy.num": 8,
    },
    "hard slots that are always on": {"negatives.hard.num": 8},
    "mined": {"negatives.hard.source": "mined", "negatives.hard.num": 8},
    "everything at once": {
        "negatives.in_batch": True,
        "negatives.easy.num": 64,
        "negatives.hard.num": 16,
        "negatives.hard.stages": ["retrieved", "ranked:0-20", "ranked:50-90"],
        "negatives.hard.weights": [0.1, 1, 2],
        "negatives.hard.pool": "user",
        "negatives.hard_ratio": 0.2,
        "negatives.bank.size": 1024,
        "negatives.num_hard_negatives": 32,
        "negatives.mask": "user_positives",
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_values_that_fit_each_other_pass(name):
    config = make(GOOD[name])
    assert hash(config.negatives) == hash(make(GOOD[name]).negatives)


def test_defaults_are_right_and_need_no_hard_negatives():
    assert NegativesConfig() == make({"seed": 0}).negatives
    assert NegativesConfig().hard == Funnel()
    assert Funnel().num == 0 and NegativesConfig().hard_ratio is None


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(InputError, match=r"negatives\.easy\.smoothing=.* out of range"):
        Popularity(smoothing=value)
    with pytest.raises(InputError, match=r"negatives\.bank\.size=.* out of range"):
        BankConfig(size=value)


def test_a_bank_without_in_batch_negatives_is_refused():
    negatives = {"in_batch": False, "easy": {"num": 8}, "bank": {"size": 4096}}
    with pytest.raises(InputError, match=r"bank\.size=4096 keeps in-batch candidates"):
        from_dict({"negatives": negatives})


@pytest.mark.parametrize(
    "negatives",
    [
        {"hard": {"num": 4}},
        {"hard": {"num": 4, "log_q": "none"}},
        {"hard": {"num": 4}, "easy": {"num": 4}, "hard_ratio": 1.0},
        {"hard": {"num": 4, "source": "dns", "log_q": "none"}, "layout": "per_row"},
    ],
)
def test_a_positive_that_is_never_a_negative_has_no_count_to_correct(negatives):
    values = {"in_batch": False} | negatives
    with pytest.raises(InputError, match=r"logq\.correct=all .* which is 0"):
        from_dict({"negatives": values})
    mixed = {"layout": "per_row", "easy": {"num": 0}, "hard_ratio": 0.5}
    for remedy in (
        {"negatives": values | mixed},
        {"loss": {"logq": {"correct": "negatives"}}, "negatives": values},
        {"negatives": values | {"in_batch": True}},
    ):
        from_dict(remedy)


def test_a_positive_is_not_counted_twice():
    """As an uncorrected positive, and as a corrected draw that equals it."""
    negatives = {"mask": "none"}
    loss = {"logq": {"correct": "negatives"}}
    message = r"correct=negatives with negatives\.mask=none counts the positive twice"
    with pytest.raises(InputError, match=message):
        from_dict({"negatives": negatives, "loss": loss})
    for remedy in (
        {"negatives": {"mask": "same_item"}, "loss": loss},
        {"negatives": {"mask": "user_positives"}, "loss": loss},
        {"negatives": negatives, "loss": {"logq": {"correct": "all"}}},
        {"negatives": negatives, "loss": {"name": "full_softmax"}},
    ):
        from_dict(remedy)
