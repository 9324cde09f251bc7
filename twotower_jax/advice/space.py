"""What is tried on a log: its split, models, kinds of samples and baselines."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import NamedTuple

import numpy as np
import yaml

from twotower_jax.config import Config
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.run.inputs import Loaded, oversized
from twotower_jax.run.tower_features import query_features
from twotower_jax.study.grid import Axes, Point

# Users with fewer positives have too short a history for shares of it.
SHORT = 10
# A temporal test part is of little use where fewer of its users were seen in training.
KNOWN_USERS = 0.5
# With fewer training positives, batches of 1,024 leave few steps per epoch.
SMALL = 30_000
RATES = ("0.003", "0.01", "0.03")
TEMPERATURES = ("0.07", "0.1", "0.14", "0.2")
# Factors of the chosen temperature that every kind of samples tries.
FACTORS = (0.7, 1.0, 1.4)
DEFAULTS = {
    "towers": "default",
    "optimizer.learning_rate": "0.01",
    "loss.temperature": "0.14",
    "towers.candidate": "[]",
}
CONTROL, BASE = "in_batch_logq", "in_batch"
SAMPLES = (
    *(CONTROL, BASE, "mixed", "uniform", "popularity_negatives"),
    *("downsample_hot", "upsample_cold"),
)
# Their control is mixed_slots: the same slots without hard items.
HARD = ("mixed_slots", "half_hard")
BASELINES = ("popularity", "item_knn", "ease", "ials")


class Arm(NamedTuple):
    """A kind of samples, or a baseline, and the axes on which it is tuned.

    Attributes:
      choice: of the group ``arms``.
      axes: values by key.
      first: the point that is tried first; the defaults.
    """

    choice: str
    axes: Axes
    first: Point | None = None


def choose_split(log: FunnelLog, given: Sequence[str]) -> tuple[str, str]:
    """The split of a log, and the reason in words.

    Parts that come with the data are used. Logs without times are split by shares of
    each user's positives; short histories by their last positive; else in time, unless
    most users of the later part would be new.

    Args:
      log: the log.
      given: keys that the user set.

    Returns:
      A value of ``data.split``, and the reason; the value is empty where the user gave
      one.
    """
    if "data.split" in given:
        return "", "as given"
    if log.part is not None:
        return "given", "the data come in parts"
    clicked = log.stage == Stage.CLICKED
    user = log.user[clicked]
    counts = np.bincount(user)
    median = float(np.median(counts[counts > 0])) if len(user) else 0.0
    if log.time is None:
        return "ratio", "the log has no times"
    if median < SHORT:
        return (
            "leave_last_out",
            f"half of the users have {median:.0f} positives or fewer",
        )
    time = log.time[clicked]
    late = time >= np.quantile(time, 0.9)
    known = np.isin(np.unique(user[late]), np.unique(user[~late])).mean()
    if known < KNOWN_USERS:
        return "leave_last_out", f"{1 - known:.0%} of the users of a later part are new"
    return "temporal", "the log has times"


def model_arm(data: Loaded, config: Config, given: Sequence[str]) -> Arm:
    """The control and the axes of the model, without those that the user set.

    Args:
      data: the log and its split.
      config: of the user's overrides.
      given: keys and groups that the user set.

    Returns:
      In-batch negatives with logQ at every model that is tried.
    """
    chosen = query_features(data, config.towers.history_length)
    towers = ["default"]
    towers += ["history"] if chosen != ("history",) else []
    towers += ["factors"] if chosen != ("id",) else []
    axes = {
        "towers": towers,
        "optimizer.learning_rate": list(RATES),
        "loss.temperature": list(TEMPERATURES),
    }
    if data.log.item_features:
        axes["towers.candidate"] = ["[]", "[id]"]
    kept = {key: values for key, values in axes.items() if key not in given}
    if any(word.startswith("towers.") for word in given):
        kept.pop("towers", None)
    return Arm(CONTROL, kept, {key: DEFAULTS[key] for key in kept})


def sample_arms(log: FunnelLog, point: Point, given: Sequence[str]) -> list[Arm]:
    """Kinds of samples that a log can carry, each with the same axis.

    Args:
      log: the log.
      point: the chosen point of the model.
      given: keys that the user set; a temperature is then not tried.

    Returns:
      The arms; hard ones where a stage discarded items.
    """
    centre = float(point.get("loss.temperature", 0.14))
    axes, first = {}, {}
    if "loss.temperature" not in given:
        axes["loss.temperature"] = [f"{centre * factor:.3g}" for factor in FACTORS]
        first["loss.temperature"] = f"{centre:.3g}"
    discarded = (log.stage < Stage.EXPOSED).any()
    return [Arm(name, axes, first) for name in (*SAMPLES, *(HARD if discarded else ()))]


def baseline_arms(config: Config, data: Loaded) -> list[Arm]:
    """Baselines that fit the data, with the axes of ``hydra/sweeper=select``.

    Args:
      config: of the user's overrides.
      data: the log and its split.
    """
    file = resources.files("twotower_jax.conf") / "hydra" / "sweeper" / "select.yaml"
    tuned = yaml.safe_load(file.read_text(encoding="utf-8"))["arm_tune"]
    arms = []
    for name in BASELINES:
        axes = {key: str(text).split(",") for key, text in tuned.get(name, {}).items()}
        if oversized(_of_kind(config, name), data) is None:
            arms.append(Arm(f"baseline/{name}", axes))
    return arms


def _of_kind(config: Config, kind: str) -> Config:
    return replace(config, towers=replace(config.towers, kind=kind))
