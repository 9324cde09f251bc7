"""The keys of a configuration that have an effect, given the others.

A key without an effect does not tell two runs apart: ``negatives.hard.pool`` where
there are no hard negatives, ``training.epochs`` where ``training.steps`` is set. The
rules hold for configurations of earlier versions too: they read plain values, and a key
that a configuration lacks has its default.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twotower_jax.config.convert import with_defaults
from twotower_jax.losses import LOSSES

Values = Mapping[str, Any]


class Rule(NamedTuple):
    """A condition under which keys have an effect.

    Attributes:
      keys: dotted keys; the name of a section stands for all of its keys.
      used: returns whether they have an effect, given all values by dotted key.
    """

    keys: tuple[str, ...]
    used: Callable[[Values], bool]


def hard_negatives(values: Values) -> bool:
    """Whether any slot is ever hard."""
    if not values["negatives.hard.num"]:
        return False
    return values["negatives.hard_ratio"] != 0 or bool(values["negatives.hard_start"])


def explicit_slots(values: Values) -> int:
    """Number of easy and hard draws beside the batch and the bank.

    In the shared layout without hard negatives, hard slots do not add easy draws.
    """
    easy, hard = values["negatives.easy.num"], values["negatives.hard.num"]
    adds = hard_negatives(values) or values["negatives.layout"] == "per_row"
    return easy + hard if adds else easy


def whole_catalogue(values: Values) -> bool:
    """Whether the negatives of a row are all items, and none is drawn."""
    loss = LOSSES.get(values.get("loss.name", ""))
    return loss is not None and loss.whole_catalogue


def _corrects(values: Values) -> bool:
    return values.get("loss.logq.correct", "none") != "none"


def _hard_from(*sources: str) -> Callable[[Values], bool]:
    return lambda v: hard_negatives(v) and v["negatives.hard.source"] in sources


RULES = (
    # Permissions, speed, records, metrics that do not change each other, and the
    # numbers of baselines, which train no tower.
    Rule(
        (
            "baseline",
            "data.path",
            "data.columns.weight",
            "negatives.allow_exposed",
            "training.steps_per_dispatch",
            "training.feed",
            "training.checkpoint_every",
            "training.merge_columns",
            "training.devices",
            "training.mesh",
            "evaluation.k",
            "evaluation.test",
            "evaluation.save_topk",
            "evaluation.truth",
            "evaluation.uniform_exposures",
            "evaluation.auc",
        ),
        lambda _: False,
    ),
    Rule(
        (
            "negatives.in_batch",
            "negatives.distinct",
            "negatives.layout",
            "negatives.easy",
            "negatives.hard",
            "negatives.hard_ratio",
            "negatives.hard_start",
            "negatives.hard_ramp",
            "negatives.bank",
            "negatives.num_hard_negatives",
        ),
        # The mask has an effect there too.
        lambda v: not whole_catalogue(v),
    ),
    Rule(
        ("negatives.easy.sampler", "negatives.easy.alpha", "negatives.easy.smoothing"),
        # Rows without a pool, and dns, draw easy negatives in place of hard ones.
        lambda v: explicit_slots(v) > 0,
    ),
    Rule(
        ("negatives.easy.alpha", "negatives.easy.smoothing"),
        lambda v: v["negatives.easy.sampler"] == "popularity",
    ),
    Rule(("negatives.layout",), lambda v: explicit_slots(v) > 0),
    Rule(
        (
            "negatives.hard.source",
            "negatives.hard.stages",
            "negatives.hard.weights",
            "negatives.hard.pool",
            "negatives.hard.pool_size",
            "negatives.hard.log_q",
            "negatives.hard.candidate_num",
            "negatives.hard.mined",
        ),
        hard_negatives,
    ),
    Rule(
        (
            "negatives.hard.stages",
            "negatives.hard.weights",
            "negatives.hard.pool",
            "negatives.hard.pool_size",
        ),
        _hard_from("log"),
    ),
    Rule(("negatives.hard.candidate_num",), _hard_from("dns", "resampled")),
    Rule(("negatives.hard.mined",), _hard_from("mined")),
    Rule(
        ("negatives.hard.log_q", "loss.logq.frequency", "loss.logq.strength"), _corrects
    ),
    Rule(
        ("negatives.hard.num",),
        # Slots that are never hard: per row they are easy draws, else none. A key that
        # turns a section on has an effect where it is 0.
        lambda v: (
            hard_negatives(v)
            or v["negatives.layout"] == "per_row"
            or not v["negatives.hard.num"]
        ),
    ),
    Rule(("negatives.hard_ratio",), lambda v: v["negatives.hard.num"] > 0),
    Rule(
        ("negatives.hard_start", "negatives.hard_ramp"),
        lambda v: hard_negatives(v) and v["negatives.hard_start"] is not None,
    ),
    Rule(
        ("negatives.bank.warmup",),
        lambda v: v["negatives.bank.size"] > 0,
    ),
    Rule(
        ("negatives.filter.warmup",),
        lambda v: v["negatives.filter.gamma"] is not None,
    ),
    Rule(("loss.logq.frequency",), lambda v: v["negatives.in_batch"]),
    Rule(
        ("loss.logq.streaming",),
        lambda v: (
            v.get("loss.logq.frequency") == "streaming"
            and v["negatives.in_batch"]
            and _corrects(v)
        ),
    ),
    Rule(
        ("loss.temperature_rate", "loss.temperature_min", "loss.temperature_max"),
        lambda v: bool(v.get("loss.learn_temperature")),
    ),
    Rule(("loss.two_way.correct",), lambda v: v.get("loss.two_way.weight", 0) > 0),
    Rule(
        ("loss.self_supervised.num", "loss.self_supervised.temperature"),
        lambda v: v["loss.self_supervised.weight"] > 0,
    ),
    Rule(
        ("positives.lists.length", "positives.lists.weight"),
        lambda v: v["positives.lists.path"] is not None,
    ),
    Rule(
        (
            "towers.history_length",
            "towers.history_pooling",
            "towers.history_half_life",
            "towers.history_table",
            "towers.history_features",
            "towers.sequence",
        ),
        lambda v: not v["towers.query"] or "history" in v["towers.query"],
    ),
    Rule(
        ("towers.history_half_life",),
        lambda v: v["towers.history_pooling"] == "recency",
    ),
    Rule(
        ("towers.sequence",),
        lambda v: v["towers.history_pooling"] == "transformer",
    ),
    Rule(("evaluation.ips_clip",), lambda v: v["evaluation.ips_power"] > 0),
    Rule(("training.min_steps",), lambda v: v["training.patience"] != 0),
    Rule(
        # Without a validation set and patience it spaces lines of metrics.jsonl.
        ("training.eval_every",),
        lambda v: v["training.patience"] != 0 or not v["data.fit_valid"],
    ),
    Rule(("training.epochs",), lambda v: v["training.steps"] is None),
)


def all_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration by dotted key, with defaults for missing keys.

    Examples:
      >>> all_values({"loss": {"name": "bce"}})["loss.name"]
      'bce'
      >>> all_values({})["training.steps"] is None
      True
    """
    return _flat(with_defaults(config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def idle_keys(config: Mapping[str, Any]) -> set[str]:
    """The dotted keys of a configuration that have no effect, given the others.

    Examples:
      >>> idle = idle_keys({"negatives": {"hard": {"num": 0, "pool": "user"}}})
      >>> "negatives.hard.pool" in idle, "negatives.hard.num" in idle
      (True, False)
    """
    values = all_values(config)
    unused = tuple(
        key for rule in RULES if not _used(rule, values) for key in rule.keys
    )
    sections = tuple(f"{key}." for key in unused)
    return {key for key in values if key in unused or key.startswith(sections)}


def _used(rule: Rule, values: Values) -> bool:
    """Return whether keys have an effect; they do if a value has another type."""
    try:
        return rule.used(values)
    except TypeError:
        return True
