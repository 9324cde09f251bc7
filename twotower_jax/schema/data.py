"""Where the log comes from, and how it is filtered and split."""

import dataclasses
import json
from dataclasses import dataclass, field

from twotower_jax.errors import InputError
from twotower_jax.schema.checks import choice, in_range

FEATURE_KINDS = ("categorical", "multi", "numeric")
SPLITS = ("temporal", "leave_last_out", "ratio", "given")


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
    rank: str | None = None


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
            in_range(f"data.simulator.{name}", getattr(self, name), 1)
        in_range("data.simulator.users", self.users, 2)
        in_range("data.simulator.zipf_exponent", self.zipf_exponent, 0, 5)
        in_range("data.simulator.taste_weight", self.taste_weight, 0, 100)
        in_range("data.simulator.position_bias", self.position_bias, 0, 1)
        in_range("data.simulator.click_rate", self.click_rate, 0, 1)
        in_range("data.simulator.seed", self.seed, 0)
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
        choice("data.split", self.split, SPLITS)
        in_range("data.min_user_positives", self.min_user_positives, 1)
        in_range("data.min_item_positives", self.min_item_positives, 1)
        in_range("data.valid_share", self.valid_share, 0, 0.9)
        in_range("data.test_share", self.test_share, 0, 0.9)
        if self.valid_share + self.test_share >= 1:
            raise InputError(
                f"data.valid_share={self.valid_share} + data.test_share="
                f"{self.test_share} leave nothing to train on; keep the sum below 1"
            )
        for side in ("query_features", "candidate_features"):
            for name, kind in getattr(self, side).items():
                choice(f"data.{side}.{name}", kind, FEATURE_KINDS)
