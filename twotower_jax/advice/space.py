"""Models, kinds of samples and baselines that are tried on a log."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import resources
from typing import NamedTuple

import numpy as np
import yaml

from twotower_jax.config import Config
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.model.towers import BASELINES, baselines_for
from twotower_jax.run.loader import Loaded, oversized, query_features
from twotower_jax.run.positives import reads_sequences
from twotower_jax.study.selection import Axes, Point

# With fewer training positives, batches of 1,024 leave few steps per epoch.
SMALL = 30_000
RATES = ("0.003", "0.01", "0.03")
TEMPERATURES = ("0.07", "0.1", "0.14", "0.2", "0.3")
# Factor between neighbouring temperatures.
STEP = 1.4
# Factors of the chosen temperature that every kind of samples tries.
FACTORS = (0.7, 1.0, 1.4)
DEFAULTS = {
    "towers": "default",
    "towers.init": "spectral",
    "optimizer.learning_rate": "0.01",
    "loss.temperature": "0.14",
    "towers.candidate": "[]",
}
LENGTH, LONGER = "towers.history_length", "towers.sequence.longer"
# A transformer has no spectral start, one length, and does not learn at higher rates.
# Of longer sequences it trains on the newest positives.
SEQUENCE, SEQUENCE_RATES = "sequence", ("0.001", "0.003", "0.01")
# Longer histories are tried where at least this share of the users has them.
LONG = 0.1
CONTROL, BASE = "in_batch_logq", "in_batch"
RESAMPLED = ("downsample_hot", "upsample_cold")
SAMPLES = (
    *(CONTROL, BASE, "mixed", "uniform", "popularity_negatives"),
    *RESAMPLED,
)
# Their control is mixed_slots: the same slots without hard items.
HARD = ("mixed_slots", "half_hard")


class Arm(NamedTuple):
    """A kind of samples, or a baseline, and the axes on which it is tuned."""

    choice: str  # of the group ``arms``
    axes: Axes  # values by key
    first: Point | None = None  # the point that is tried first; the defaults


def model_arm(data: Loaded, config: Config, given: Sequence[str]) -> Arm:
    """The control and the axes of the model, without those that the user set."""
    chosen = query_features(data, config.towers.history_length)
    towers = ["default"]
    towers += ["history"] if chosen != ("history",) else []
    towers += ["factors"] if chosen != ("id",) else []
    # Without times, the split by the last positive takes the order of the rows for it.
    last = config.data.split == "leave_last_out"
    ordered = data.split.train.time is not None or last
    towers += [SEQUENCE] if "history" in chosen and ordered else []
    axes = {
        "towers": towers,
        "towers.init": ["spectral"],
        "optimizer.learning_rate": list(RATES),
        "loss.temperature": list(TEMPERATURES),
    }
    lengths = history_lengths(data, config.towers.history_length)
    if "history" in chosen and lengths:
        axes[LENGTH] = lengths
    if data.log.item_features:
        axes["towers.candidate"] = ["[]", "[id]"]
    kept = {key: values for key, values in axes.items() if key not in given}
    if any(word.startswith("towers.") for word in given):
        kept.pop("towers", None)
        kept.pop(LENGTH, None)
    if "towers" not in kept or not {"id", "history"} & set(chosen):
        kept.pop("towers.init", None)
    first = DEFAULTS | ({LENGTH: lengths[0]} if lengths else {})
    return Arm(CONTROL, kept, {key: first[key] for key in kept})


def of_kind(arm: Arm, kind: str) -> Arm:
    """The arm of one kind of towers, without the axes that it does not use."""
    axes = arm.axes | {"towers": [kind]}
    if kind in ("factors", SEQUENCE):
        axes.pop(LENGTH, None)
    if kind == SEQUENCE:
        axes.pop("towers.init", None)
        axes[LONGER] = ["newest"]
        if "optimizer.learning_rate" in axes:
            axes["optimizer.learning_rate"] = list(SEQUENCE_RATES)
    return arm._replace(axes=axes)


def kind_words(kind: str) -> tuple[str, ...]:
    """The words of a run of one kind of towers."""
    chosen = f"towers={kind}"
    return (chosen, f"{LONGER}=newest") if kind == SEQUENCE else (chosen,)


def without_kind(arm: Arm, kind: str) -> Arm:
    """The arm without one kind of towers."""
    if kind not in arm.axes.get("towers", []):
        return arm
    kinds = [name for name in arm.axes["towers"] if name != kind]
    return arm._replace(axes=arm.axes | {"towers": kinds})


def history_lengths(data: Loaded, length: int) -> list[str]:
    """Lengths of a history that are tried, the first one first."""
    if _share_above(data, 50) >= 0.5:
        return ["50", "100"]
    return ["20", "50"] if _share_above(data, length) >= LONG else []


def _share_above(data: Loaded, length: int) -> float:
    """The share of the users with more training positives than ``length``."""
    counts = np.bincount(data.split.train.user)
    return float((counts[counts > 0] > length).mean())


def nearby(
    data: Loaded, config: Config, point: Point, given: Sequence[str]
) -> list[Point]:
    """Points that differ from a point of the model in one key, by a step each way."""
    temperature, rate = config.loss.temperature, config.optimizer.learning_rate
    length, dim = config.towers.history_length, config.towers.dim
    moves: list[tuple[str, float]] = [
        ("towers.dim", 2 * dim),
        ("loss.temperature", temperature * STEP),
        ("loss.temperature", temperature / STEP),
        ("optimizer.learning_rate", rate / 2),
        ("optimizer.learning_rate", rate * 2),
    ]
    chosen = config.towers.query or query_features(data, length)
    if "history" in chosen and _share_above(data, length) >= LONG:
        moves.insert(3, (LENGTH, 2 * length))
    fixed = any(word.startswith("towers.") for word in given)
    return [
        {**point, key: f"{value:.3g}"}
        for key, value in moves
        if key not in given and not (fixed and key.startswith("towers."))
    ]


def sample_arms(log: FunnelLog, config: Config, given: Sequence[str]) -> list[Arm]:
    """Kinds of samples that a log can carry, each with the same axis."""
    centre = config.loss.temperature
    axes, first = {}, {}
    if "loss.temperature" not in given:
        axes["loss.temperature"] = [f"{centre * factor:.3g}" for factor in FACTORS]
        first["loss.temperature"] = f"{centre:.3g}"
    discarded = np.isin(log.stage, (Stage.RETRIEVED, Stage.PRE_RANKED)).any()
    names = (*SAMPLES, *(HARD if discarded else ()))
    # With resampled positives each row would read its own sequence, at ten and more
    # times the cost.
    left_out = RESAMPLED if reads_sequences(config) else ()
    return [Arm(name, axes, first) for name in names if name not in left_out]


def baseline_arms(
    config: Config, data: Loaded, leave_out: Callable[[str, str], None]
) -> list[Arm]:
    """Baselines that fit the data, with the axes of ``hydra/sweeper=select``."""
    file = resources.files("twotower_jax.conf") / "hydra" / "sweeper" / "select.yaml"
    tuned = yaml.safe_load(file.read_text(encoding="utf-8"))["arm_tune"]
    arms = []
    for name in baselines_for(config.data.mask_seen):
        axes = {key: str(text).split(",") for key, text in tuned.get(name, {}).items()}
        if (reason := oversized(_of_kind(config, name), data)) is not None:
            leave_out(BASELINES[name].label, reason)
            continue
        arms.append(Arm(f"baseline/{name}", axes, _default_point(config, name, axes)))
    return arms


def _default_point(config: Config, name: str, axes: dict[str, list[str]]) -> Point:
    """The values of a baseline's axes that are its defaults."""
    numbers = asdict(config.baseline).get(name, {})
    return {
        key: value
        for key, values in axes.items()
        for value in values
        if float(value) == numbers[key.rpartition(".")[2]]
    }


def _of_kind(config: Config, kind: str) -> Config:
    return replace(config, towers=replace(config.towers, kind=kind))
