"""The configuration of a run: every choice that decides a number, with its range.

Plain dataclasses, standard library only. Hydra uses them as the schema of the
``conf`` tree (unknown keys and wrong types are refused there); ranges are checked in
``__post_init__`` of the sections (``schema/``), and combinations of sections in
``Config.__post_init__``. The dataclasses are hashable and are treated as immutable.
"""

import dataclasses
import hashlib
import json
import re
import reprlib
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from twotower_jax.config.checks import in_range
from twotower_jax.config.data import DataConfig
from twotower_jax.config.sampling import (
    LossConfig,
    NegativesConfig,
    PositivesConfig,
)
from twotower_jax.config.training import (
    EvaluationConfig,
    OptimizerConfig,
    TowersConfig,
    TrainingConfig,
)
from twotower_jax.errors import InputError, unknown

# Keys that name a run, or say where its records go, and decide no number.
LABELS = ("name", "output", "arm", "trackers")


@dataclass(unsafe_hash=True)
class Config:
    """One run. Its hash names the run's folder."""

    name: str = "default"
    output: str = "outputs"
    arm: str | None = None
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    positives: PositivesConfig = field(default_factory=PositivesConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    towers: TowersConfig = field(default_factory=TowersConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work."""
        self.trackers = tuple(self.trackers)
        in_range("seed", self.seed, 0, 2**31 - 1)
        if self.loss.name != "full_softmax":
            self._check_negatives()
        if self.training.patience > 0 and self.data.fit_valid:
            raise InputError(
                f"training.patience={self.training.patience} needs a validation set, "
                "but data.fit_valid=true trains on it; set training.patience=0"
            )

        if not self.evaluation.test:
            self._check_validation()

    def _check_validation(self) -> None:
        """Refuse to leave the test alone where nothing else is evaluated."""
        data = self.data
        if data.fit_valid:
            raise InputError(
                "evaluation.test=false leaves validation to evaluate on, but data."
                "fit_valid=true trains on it; set data.fit_valid=false"
            )
        if data.valid_share == 0 and data.split in ("temporal", "ratio"):
            raise InputError(
                "evaluation.test=false leaves validation to evaluate on, but data."
                "valid_share=0 makes none; set data.valid_share above 0"
            )

    def _check_negatives(self) -> None:
        """Refuse sampled losses without negatives, or with a correction of log 0."""
        chosen, hard = self.negatives, self.negatives.hard
        drawn = chosen.easy.num + hard.num
        if not chosen.in_batch and drawn == 0:
            raise InputError(
                "negatives.in_batch=false with negatives.easy.num=0 and negatives.hard"
                ".num=0 leaves no negatives; set negatives.easy.num above 0 or "
                "negatives.in_batch=true"
            )
        if chosen.bank.size and not chosen.in_batch:
            raise InputError(
                f"negatives.bank.size={chosen.bank.size} keeps in-batch candidates of "
                "earlier steps, but negatives.in_batch=false; set it to true, or "
                "negatives.bank.size=0"
            )
        if 0 < chosen.bank.size < self.training.batch_size:
            raise InputError(
                f"negatives.bank.size={chosen.bank.size} is smaller than training."
                f"batch_size={self.training.batch_size}, so a batch does not fit; set "
                "it to the batch size or more, or 0 for no bank"
            )
        all_hard = 1.0 in (chosen.hard_ratio, chosen.hard_start)
        only_hard = hard.num and not chosen.in_batch
        # With a ratio below 1 the slots of a row are easy ones too.
        mixes = chosen.layout == "per_row" and chosen.hard_ratio is not None
        no_easy = chosen.easy.num == 0 and not mixes
        never_drawn = only_hard and (no_easy or all_hard)
        if never_drawn and self.loss.logq.correct == "all" and hard.log_q != "easy":
            raise InputError(
                "loss.logq.correct=all corrects the positive by its expected count as "
                "a negative, which is 0 where every negative is hard; set loss.logq."
                "correct=negatives, negatives.hard.log_q=easy, or add easy or in-batch "
                "negatives"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested dictionaries of plain values (tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any], kind: Any = Config, prefix: str = "") -> Any:
    """Return a config from nested dictionaries such as ``to_dict`` gives.

    Args:
      values: {key: value}; keys that are left out keep their defaults.
      kind: the dataclass of the section, Config for a whole configuration.
      prefix: what stands before the keys in messages, such as ``loss.logq.``.
    Raises:
      InputError: for a key that the schema does not know, a value of another type,
        one out of range, or a combination that cannot work.
    """
    hints = get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"a key of {prefix[:-1] or kind.__name__}", key, hints)
        arguments[key] = _typed(f"{prefix}{key}", value, hints[key])
    return kind(**arguments)


EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "keys with values",
}


def _typed(key: str, value: Any, hint: Any, tail: str = "") -> Any:
    """Return a value as its annotation wants it: lists as tuples, 1 as 1.0 for float.

    Raises:
      InputError: naming the key, the value and the expected type (``tail``: or null).
    """
    if dataclasses.is_dataclass(hint):
        _check(key, value, dict, tail)
        return from_dict(value, hint, f"{key}.")
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:  # X | None: the schema has no other union
        return None if value is None else _typed(key, value, inner[0], " or null")
    if origin is tuple:
        value = tuple(value) if isinstance(value, list) else value
        _check(key, value, tuple, tail)
        parts = enumerate(value)
        return tuple(_typed(f"{key}[{i}]", part, inner[0]) for i, part in parts)
    if origin is dict:
        _check(key, value, dict, tail)
        for name, part in value.items():
            _check(f"{key}.{name}", name, inner[0], " as its name")
            _check(f"{key}.{name}", part, inner[1])
        return dict(value)
    if hint is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    _check(key, value, hint, tail)
    return value


def _check(key: str, value: Any, kind: Any, tail: str = "") -> None:
    """Raise InputError unless the value is of the kind; a bool is no number."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return
    expected = EXPECTED[kind] + tail
    if kind is float and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE]\S+", str(value)):
        expected += ", in YAML with a dot and a sign as in 1.0e-7"
    raise InputError(f"{key}={reprlib.repr(value)} has the wrong type; give {expected}")


def fingerprint(config: Config) -> str:
    """Return 10 hex digits that name a config: all of it but names and places."""
    values = to_dict(config)
    for key in LABELS:
        del values[key]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def known_keys(kind: type = Config, prefix: str = "") -> list[str]:
    """Return every key of the schema in dotted form, sections included."""
    keys = []
    for item in dataclasses.fields(kind):
        keys.append(prefix + item.name)
        section = item.default_factory
        if isinstance(section, type) and dataclasses.is_dataclass(section):
            keys += known_keys(section, f"{prefix}{item.name}.")
    return keys
