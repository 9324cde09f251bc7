"""The arms and axes that are tried depend on the log and on the user's keys."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.advice.space import (
    FACTORS,
    HARD,
    SAMPLES,
    baseline_arms,
    kind_words,
    model_arm,
    nearby,
    of_kind,
    sample_arms,
    without_kind,
)
from twotower_jax.config import Config, from_dict
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Feature, FunnelLog, Stage
from twotower_jax.errors import InputError
from twotower_jax.run.loader import split_log
from twotower_jax.run.positives import check_lengths, trained_part
from twotower_jax.sweeps.compose import compose_config


def make_log(user, time=None, stage=None, part=None, features=False):
    user = np.asarray(user, np.int32)
    item = np.arange(len(user), dtype=np.int32) % 7
    stage = np.full(len(user), Stage.CLICKED, np.int8) if stage is None else stage
    colour = Feature("categorical", np.zeros(7, np.int32), 1)
    return FunnelLog(
        user=user,
        item=item,
        stage=np.asarray(stage, np.int8),
        user_ids=pl.Series(range(user.max() + 1)),
        item_ids=pl.Series(range(7)),
        time=None if time is None else np.asarray(time, np.float64),
        part=None if part is None else np.asarray(part, np.int8),
        item_features={"colour": colour} if features else {},
    )


LONG = np.repeat(np.arange(20), 30)
SPREAD = np.random.default_rng(0).permutation(len(LONG))


def test_a_key_that_is_set_is_not_tried():
    log = make_log(LONG, SPREAD, features=True)
    data = split_log(log, DataConfig())
    axes = model_arm(data, Config(), []).axes
    assert list(axes) == [
        "towers",
        "towers.init",
        "optimizer.learning_rate",
        "loss.temperature",
        "towers.history_length",  # users have 24 training positives
        "towers.candidate",
    ]
    arm = model_arm(data, Config(), [])
    assert arm.axes["towers.history_length"] == ["20", "50"]
    assert arm.first and arm.first["towers.history_length"] == "20"
    few = split_log(make_log(LONG[::3], SPREAD[: len(LONG[::3])]), DataConfig())
    assert "towers.history_length" not in model_arm(few, Config(), []).axes
    arm = model_arm(data, Config(), ["loss.temperature", "towers.query"])
    assert list(arm.axes) == ["optimizer.learning_rate", "towers.candidate"]
    assert arm.first == {"optimizer.learning_rate": "0.01", "towers.candidate": "[]"}
    arms = sample_arms(log, Config(), ["loss.temperature"])
    assert {str(one.axes) for one in arms} == {"{}"}


def test_a_transformer_is_tried_where_the_log_has_an_order():
    timed = split_log(make_log(LONG, SPREAD), DataConfig())
    arm = model_arm(timed, Config(), [])
    assert "sequence" in arm.axes["towers"]
    untimed = split_log(make_log(LONG), DataConfig(split="ratio"))
    assert "sequence" not in model_arm(untimed, Config(), []).axes["towers"]
    last = DataConfig(split="leave_last_out")  # takes the order of the rows
    rows = model_arm(split_log(make_log(LONG), last), Config(data=last), [])
    assert "sequence" in rows.axes["towers"]
    others = without_kind(arm, "sequence").axes["towers"]
    assert others == ["default", "history", "factors"]
    sequence = of_kind(arm, "sequence")
    # Spectral vectors are no start of a transformer, and it has a length of its own.
    assert set(sequence.axes) == {
        "towers",
        "optimizer.learning_rate",
        "loss.temperature",
        "towers.sequence.longer",
    }
    assert sequence.axes["towers.sequence.longer"] == ["newest"]
    assert "0.03" not in sequence.axes["optimizer.learning_rate"]
    given = model_arm(timed, Config(), ["towers.dim"])
    assert without_kind(given, "sequence") == given and "towers" not in given.axes


def test_runs_of_each_kind_of_towers_take_longer_sequences_than_the_tower():
    users = np.repeat(np.arange(20), 80)
    spread = np.random.default_rng(0).permutation(len(users))
    data = split_log(make_log(users, spread), DataConfig())
    kinds = model_arm(data, Config(), []).axes["towers"]
    assert "sequence" in kinds
    for kind in kinds:
        config = compose_config(kind_words(kind))
        part = trained_part(config, data)
        check_lengths(config, data, part)
    with pytest.raises(InputError, match=r"towers\.history_length=50 is too short"):
        config = compose_config(["towers=sequence"])
        check_lengths(config, data, trained_part(config, data))


def test_histories_begin_longer_where_half_of_the_users_have_many_positives():
    users = np.repeat(np.arange(20), np.where(np.arange(20) < 11, 80, 30))
    spread = np.random.default_rng(0).permutation(len(users))
    data = split_log(make_log(users, spread), DataConfig())
    arm = model_arm(data, Config(), [])
    assert arm.axes["towers.history_length"] == ["50", "100"]
    assert arm.first and arm.first["towers.history_length"] == "50"


def test_every_kind_of_samples_has_the_same_axis_around_the_chosen_temperature():
    config = from_dict({"loss": {"temperature": 0.2}})
    arms = sample_arms(make_log(LONG), config, [])
    assert tuple(one.choice for one in arms) == SAMPLES
    for one in arms:
        values = list(map(float, one.axes["loss.temperature"]))
        assert values == pytest.approx([0.2 * factor for factor in FACTORS])
        assert one.first == {"loss.temperature": "0.2"}


def test_hard_negatives_are_tried_where_a_stage_discarded_items():
    stage = np.full(len(LONG), Stage.CLICKED)
    stage[::3] = Stage.EXPOSED  # shown and not clicked: no stage discarded these
    arms = sample_arms(make_log(LONG, stage=stage), Config(), [])
    assert len(arms) == len(SAMPLES)
    stage[::7] = Stage.RANKED  # these came through ranking
    assert len(sample_arms(make_log(LONG, stage=stage), Config(), [])) == len(SAMPLES)
    stage[::5] = Stage.PRE_RANKED
    arms = sample_arms(make_log(LONG, stage=stage), Config(), [])
    assert tuple(one.choice for one in arms) == (*SAMPLES, *HARD)


def test_a_transformer_is_tried_without_resampled_positives():
    config = from_dict({"towers": {"history_pooling": "transformer"}})
    names = {one.choice for one in sample_arms(make_log(LONG), config, [])}
    assert set(SAMPLES) - names == {"downsample_hot", "upsample_cold"}


def test_a_baseline_that_the_data_are_too_large_for_is_left_out():
    data = split_log(make_log(LONG, SPREAD), DataConfig())
    config = Config()
    left_out: dict[str, str] = {}

    def arms(config):
        return baseline_arms(config, data, left_out.__setitem__)

    names = [one.choice for one in arms(config)]
    assert names == [
        f"baseline/{n}" for n in ("popularity", "item_knn", "ease", "ials")
    ]
    for one in arms(config):
        assert one.first is not None and set(one.first) == set(one.axes)
    again = Config(data=DataConfig(repeats="all"))
    assert "baseline/buy_again" in [one.choice for one in arms(again)]
    config.baseline.ease.max_size = 3
    assert not left_out
    assert "baseline/ease" not in [one.choice for one in arms(config)]
    assert list(left_out) == ["EASE"]
    assert left_out["EASE"].startswith("ease inverts a matrix of ")
    assert "above baseline.ease.max_size=3; raise it" in left_out["EASE"]


def test_points_near_the_best_one_differ_in_one_key_that_is_free():
    data = split_log(make_log(LONG, SPREAD), DataConfig())
    point = {"towers": "history", "loss.temperature": "0.14"}
    near = nearby(data, Config(), point, [])
    changed = [{k: v for k, v in one.items() if point.get(k) != v} for one in near]
    assert changed == [
        {"towers.dim": "128"},
        {"loss.temperature": "0.196"},
        {"loss.temperature": "0.1"},
        {"towers.history_length": "40"},
        {"optimizer.learning_rate": "0.005"},
        {"optimizer.learning_rate": "0.02"},
    ]
    given = ["towers.dim", "loss.temperature"]
    kept = [set(one) - set(point) for one in nearby(data, Config(), point, given)]
    assert kept == [{"optimizer.learning_rate"}] * 2
