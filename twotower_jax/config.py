"""The schema of a run: every choice that decides a number, with its range.

Plain dataclasses, standard library only. Hydra uses them as the schema of the
``conf`` tree (unknown keys and wrong types are refused there); ranges are checked
in ``__post_init__``, and combinations of keys in ``Config.__post_init__``.
The dataclasses are hashable and are treated as immutable.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from twotower_jax.errors import InputError, unknown

FEATURE_KINDS = ("categorical", "multi", "numeric")
# Keys that name a run and decide no number.
LABELS = ("name", "output", "arm")
SPLITS = ("temporal", "leave_last_out", "ratio", "given")


def _in_range(key: str, value: float, low: float, high: float | None = None) -> None:
    """Raise InputError unless low <= value (<= high)."""
    if not (value >= low and (high is None or value <= high)):
        span = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{key}={value} is out of range; give a value {span}")


def _positive(key: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{key}={value} is out of range; give a value above 0")


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown(key, value, known)


@dataclass(unsafe_hash=True)
class ColumnsConfig:
    """Names of the columns of a table; null means that the table has none."""

    user: str = "user"
    item: str = "item"
    time: str | None = None
    clicked: str | None = None
    rating: str | None = None
    stage: str | None = None
    request: str | None = None


@dataclass(unsafe_hash=True)
class SimulatorConfig:
    """The embedded world: its size, tastes and biases (data/simulator.py)."""

    users: int = 5_000
    items: int = 20_000
    requests: int = 50_000
    exposed: int = 10
    latent_dim: int = 8
    zipf_exponent: float = 1.0
    taste_weight: float = 1.5
    position_bias: float = 0.7
    click_rate: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("users", "items", "requests", "exposed", "latent_dim"):
            _in_range(f"data.simulator.{name}", getattr(self, name), 1)
        _in_range("data.simulator.users", self.users, 2)
        _in_range("data.simulator.zipf_exponent", self.zipf_exponent, 0, 5)
        _in_range("data.simulator.taste_weight", self.taste_weight, 0, 100)
        _in_range("data.simulator.position_bias", self.position_bias, 0, 1)
        _in_range("data.simulator.click_rate", self.click_rate, 0, 1)
        _in_range("data.simulator.seed", self.seed, 0)
        if self.exposed > self.items:
            raise InputError(
                f"data.simulator.exposed={self.exposed} is more than "
                f"data.simulator.items={self.items}; expose at most all items"
            )


@dataclass
class DataConfig:
    """Where the log comes from, how it is filtered and how it is split."""

    source: str = "simulator"
    path: str | None = None
    valid_path: str | None = None
    test_path: str | None = None
    users_path: str | None = None
    items_path: str | None = None
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    query_features: dict[str, str] = field(default_factory=dict)
    candidate_features: dict[str, str] = field(default_factory=dict)
    min_rating: float | None = None
    min_user_positives: int = 1
    min_item_positives: int = 1
    split: str = "temporal"
    valid_share: float = 0.1
    test_share: float = 0.1
    fit_valid: bool = False
    mask_seen: bool = True
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)

    def __hash__(self) -> int:
        """Hash over the values (the feature dictionaries are not hashable)."""
        return hash(json.dumps(dataclasses.asdict(self), sort_keys=True))

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        _choice("data.split", self.split, SPLITS)
        _in_range("data.min_user_positives", self.min_user_positives, 1)
        _in_range("data.min_item_positives", self.min_item_positives, 1)
        _in_range("data.valid_share", self.valid_share, 0, 0.9)
        _in_range("data.test_share", self.test_share, 0, 0.9)
        if self.valid_share + self.test_share >= 1:
            raise InputError(
                f"data.valid_share={self.valid_share} + data.test_share="
                f"{self.test_share} leave nothing to train on; keep the sum below 1"
            )
        for side in ("query_features", "candidate_features"):
            for name, kind in getattr(self, side).items():
                _choice(f"data.{side}.{name}", kind, FEATURE_KINDS)


@dataclass(unsafe_hash=True)
class PositivesConfig:
    """How positives are resampled (METHOD: none is every positive once an epoch)."""

    strategy: str = "none"


@dataclass(unsafe_hash=True)
class EasyConfig:
    """Easy negatives drawn from the whole catalogue, shared by the batch."""

    sampler: str = "uniform"
    alpha: float = 0.75
    smoothing: float = 1.0
    num: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        _in_range("negatives.easy.alpha", self.alpha, 0, 2)
        _in_range("negatives.easy.num", self.num, 0)
        _positive("negatives.easy.smoothing", self.smoothing)


@dataclass(unsafe_hash=True)
class NegativesConfig:
    """Which items a positive is compared with."""

    in_batch: bool = True
    easy: EasyConfig = field(default_factory=EasyConfig)
    mask: str = "same_item"

    def __post_init__(self) -> None:
        """Check choices."""
        _choice("negatives.mask", self.mask, ("none", "same_item"))


@dataclass(unsafe_hash=True)
class LogqConfig:
    """Correction by the log of the expected count of a candidate in the row."""

    correct: str = "all"
    frequency: str = "counts"

    def __post_init__(self) -> None:
        """Check choices."""
        _choice("loss.logq.correct", self.correct, ("none", "all", "negatives"))
        _choice("loss.logq.frequency", self.frequency, ("counts",))


@dataclass(unsafe_hash=True)
class LossConfig:
    """The loss and its temperature."""

    name: str = "sampled_softmax"
    temperature: float = 0.07
    learn_temperature: bool = False
    logq: LogqConfig = field(default_factory=LogqConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        _positive("loss.temperature", self.temperature)


@dataclass(unsafe_hash=True)
class TowersConfig:
    """The two towers: their features, width and depth."""

    kind: str = "two_tower"
    dim: int = 64
    hidden: tuple[int, ...] = (128,)
    query: tuple[str, ...] = ("id",)
    candidate: tuple[str, ...] = ("id",)
    history_length: int = 20
    normalize: bool = True
    init_scale: float = 0.05

    def __post_init__(self) -> None:
        """Check ranges; lists from YAML become tuples, so that it stays hashable."""
        self.hidden = tuple(self.hidden)
        self.query = tuple(self.query)
        self.candidate = tuple(self.candidate)
        _in_range("towers.dim", self.dim, 1)
        _in_range("towers.history_length", self.history_length, 1)
        _positive("towers.init_scale", self.init_scale)
        for width in self.hidden:
            _in_range("towers.hidden", width, 1)
        for side in ("query", "candidate"):
            names = getattr(self, side)
            if not names or len(set(names)) < len(names):
                raise InputError(
                    f"towers.{side}={list(names)} must name one or more features, "
                    "each once"
                )
        if "history" in self.candidate:
            raise InputError(
                "towers.candidate names 'history', which is a feature of the query; "
                "move it to towers.query"
            )


@dataclass(unsafe_hash=True)
class OptimizerConfig:
    """The optimizer of the tables (row-sparse) and of the dense part (optax)."""

    name: str = "adagrad"
    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    eps: float = 1e-7
    b1: float = 0.9
    b2: float = 0.999
    l2: float = 0.0
    decay: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        _positive("optimizer.learning_rate", self.learning_rate)
        _in_range("optimizer.initial_accumulator", self.initial_accumulator, 0)
        _positive("optimizer.eps", self.eps)
        _in_range("optimizer.b1", self.b1, 0, 1)
        _in_range("optimizer.b2", self.b2, 0, 1)
        _in_range("optimizer.l2", self.l2, 0)


@dataclass(unsafe_hash=True)
class TrainingConfig:
    """How long, in which steps, and when to look, save and stop."""

    batch_size: int = 1024
    epochs: int = 10
    steps: int | None = None
    steps_per_dispatch: int = 8
    eval_every: int | None = None
    checkpoint_every: int | None = None
    patience: int = 0
    metric: str = "recall@20"
    merge_columns: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        _in_range("training.batch_size", self.batch_size, 2)
        _in_range("training.epochs", self.epochs, 0)
        _in_range("training.steps_per_dispatch", self.steps_per_dispatch, 1)
        _in_range("training.patience", self.patience, 0)
        for name, low in (("steps", 0), ("eval_every", 1), ("checkpoint_every", 1)):
            if getattr(self, name) is not None:
                _in_range(f"training.{name}", getattr(self, name), low)


@dataclass(unsafe_hash=True)
class EvaluationConfig:
    """Exact evaluation over the whole catalogue."""

    k: tuple[int, ...] = (10, 20, 50, 100)
    save_topk: bool = False

    def __post_init__(self) -> None:
        """Check ranges; lists from YAML become tuples."""
        self.k = tuple(self.k)
        if not self.k or len(set(self.k)) < len(self.k):
            raise InputError(
                f"evaluation.k={list(self.k)} must name cutoffs, each once"
            )
        for cutoff in self.k:
            _in_range("evaluation.k", cutoff, 1)


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
        _in_range("seed", self.seed, 0, 2**31 - 1)
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
