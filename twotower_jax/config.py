"""The configuration of a run: every choice that decides a number, with its range.

Plain dataclasses, standard library only. Hydra uses them as the schema of the
``conf`` tree (unknown keys and wrong types are refused there); ranges are checked in
``__post_init__`` of the sections (``schema/``), and combinations of sections in
``Config.__post_init__``. The dataclasses are hashable and are treated as immutable.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from twotower_jax.errors import InputError, unknown
from twotower_jax.schema.checks import in_range
from twotower_jax.schema.data import DataConfig
from twotower_jax.schema.sampling import LossConfig, NegativesConfig, PositivesConfig
from twotower_jax.schema.training import (
    EvaluationConfig,
    OptimizerConfig,
    TowersConfig,
    TrainingConfig,
)

# Keys that name a run and decide no number.
LABELS = ("name", "output", "arm")


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

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work."""
        in_range("seed", self.seed, 0, 2**31 - 1)
        sampled = self.loss.name == "sampled_softmax"
        if sampled and not self.negatives.in_batch and self.negatives.easy.num == 0:
            raise InputError(
                "negatives.in_batch=false with negatives.easy.num=0 leaves no "
                "negatives; set negatives.easy.num above 0 or negatives.in_batch=true"
            )
        if self.training.patience > 0 and self.data.fit_valid:
            raise InputError(
                f"training.patience={self.training.patience} needs a validation set, "
                "but data.fit_valid=true trains on it; set training.patience=0"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested dictionaries of plain values (tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any], kind: type = Config) -> Any:
    """Return a config from nested dictionaries such as ``to_dict`` gives.

    Raises:
      InputError: for a key that the schema does not know.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"a key of {kind.__name__}", key, fields)
        section: Any = fields[key].default_factory
        nested = isinstance(section, type) and dataclasses.is_dataclass(section)
        arguments[key] = from_dict(value, section) if nested else value
    return kind(**arguments)


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
