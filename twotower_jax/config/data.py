"""Where the log comes from, and how it is filtered and split."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from itertools import pairwise

from twotower_jax.config.checks import choice, in_range
from twotower_jax.config.kuaishou import KuaiRandConfig, RecFlowConfig
from twotower_jax.errors import InputError

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


# Name, lowest and highest value of each number of the simulator.
_SIMULATOR_RANGES: tuple[tuple[str, float, float | None], ...] = (
    ("users", 2, 10**8),
    ("items", 1, 2**31 - 1),
    ("requests", 1, 10**9),
    ("exposed", 1, None),
    ("re_ranked", 1, None),
    ("ranked", 1, None),
    ("pre_ranked", 1, None),
    ("retrieved", 1, 100_000),
    ("kept", 0, None),
    ("from_popular", 0, 1e6),
    ("from_similar", 0, 1e6),
    ("from_taste", 0, 1e6),
    ("latent_dim", 1, 256),
    ("zipf_exponent", 0, 5),
    ("popular_quality", 0, 100),
    ("taste_weight", 0, 100),
    ("quality_weight", 0, 100),
    ("items_per_author", 1, None),
    ("author_spread", 0, 100),
    ("retrieval_noise", 0, 100),
    ("pre_ranking_noise", 0, 100),
    ("ranking_noise", 0, 100),
    ("popularity_pull", 0, 100),
    ("variety", 0, 100),
    ("position_bias", 0, 1),
    ("click_rate", 0, 1),
    ("activity_spread", 0, 5),
    ("history", 1, 1_000),
    ("growth", 0, 100),
    ("drift", 0, math.pi),
    ("days", 1, 100_000),
    ("feature_noise", 0, 100),
    ("seed", 0, None),
)


@dataclass(unsafe_hash=True)
class SimulatorConfig:
    """The embedded world (data/simulator/README.md has its formulas).

    Attributes:
      users: number of users, 2 to 1e8.
      items: number of items in the end, at least 1.
      requests: number of requests, 1 to 1e9.
      exposed: items on the page of a request.
      re_ranked: items that pass re-ranking, at least exposed.
      ranked: items that pass ranking, at least re_ranked.
      pre_ranked: items that pass pre-ranking, at least ranked.
      retrieved: items that are retrieved, at least pre_ranked; at most 100,000. A
        catalogue of fewer than twice as many items shrinks all stages in proportion.
      kept: rows of the log for each stage of discarded items of a request; 0 keeps
        none, and a large number all.
      from_popular, from_similar, from_taste: relative share of the retrieved items
        that a channel gives; at least 0, and not all 0.
      latent_dim: dimension of tastes, at most 256.
      zipf_exponent: popularity of the item at place r is r ** -zipf_exponent; 0 to 5.
      popular_quality: how much quality decides about that place, 0 (not) to 100.
      taste_weight: standard deviation of affinities that tastes bring, 0 to 100.
      quality_weight: standard deviation of affinities that quality brings, 0 to 100.
      items_per_author: mean number of items of an author.
      author_spread: deviation of tastes of an author's items, against 1 between
        authors; 0 to 100.
      retrieval_noise: deviation of the noise of a taste in retrieval, 0 to 100.
      pre_ranking_noise: deviation of the noise of the affinity in pre-ranking.
      ranking_noise: the same in ranking; both 0 to 100.
      popularity_pull: what a unit of log popularity adds to the scores of pre-ranking
        and ranking, though not to the truth; 0 to 100.
      variety: what re-ranking takes off a score for each better item of the same
        author, 0 to 100.
      position_bias: the item at position k is looked at with probability
        k ** -position_bias; 0 to 1.
      click_rate: mean probability of a click on an exposed item, about; 0 to 1.
      activity_spread: deviation of the logarithm of the activity of users, 0 to 5.
      history: clicked items of a user that retrieval remembers, 1 to 1,000.
      growth: items that appear during the log, for each one that is there from the
        beginning; 0 (none) to 100.
      drift: angle in radians by which tastes turn during the log; 0 (none) to pi.
      days: what the log spans, 1 to 100,000; at most 256 requests a second.
      feature_noise: deviation of the noise of tastes in features, 0 to 100.
      seed: of the world, at least 0.
    """

    users: int = 5_000
    items: int = 20_000
    requests: int = 50_000
    exposed: int = 10
    re_ranked: int = 20
    ranked: int = 50
    pre_ranked: int = 150
    retrieved: int = 400
    kept: int = 10
    from_popular: float = 1.0
    from_similar: float = 1.0
    from_taste: float = 1.0
    latent_dim: int = 8
    zipf_exponent: float = 1.0
    popular_quality: float = 0.5
    taste_weight: float = 1.5
    quality_weight: float = 0.3
    items_per_author: int = 20
    author_spread: float = 0.7
    retrieval_noise: float = 0.5
    pre_ranking_noise: float = 1.5
    ranking_noise: float = 0.75
    popularity_pull: float = 0.2
    variety: float = 0.3
    position_bias: float = 0.7
    click_rate: float = 0.2
    activity_spread: float = 1.0
    history: int = 50
    growth: float = 0.25
    drift: float = 0.5
    days: int = 30
    feature_noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges, and that what follows from them can be."""
        for name, low, high in _SIMULATOR_RANGES:
            in_range(f"data.simulator.{name}", getattr(self, name), low, high)
        stages = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")
        # A small catalogue shrinks the stages, but the page has its size.
        for wide, narrow in (("items", "exposed"), *pairwise(stages)):
            most, number = getattr(self, wide), getattr(self, narrow)
            if number > most:
                raise InputError(
                    f"data.simulator.{narrow}={number} is more than data.simulator."
                    f"{wide}={most}; lower {narrow}, or raise {wide}"
                )
        if self.from_popular + self.from_similar + self.from_taste <= 0:
            raise InputError(
                f"data.simulator.from_popular={self.from_popular}, from_similar="
                f"{self.from_similar} and from_taste={self.from_taste} retrieve "
                "nothing; raise one of them above 0"
            )
        if self.requests > 256 * 86_400 * self.days:
            raise InputError(
                f"data.simulator.requests={self.requests} are more than 256 a second; "
                f"raise data.simulator.days={self.days}, or lower requests"
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
    history_clicks: bool = True
    min_user_positives: int = 1
    min_item_positives: int = 1
    split: str = "temporal"
    valid_share: float = 0.1
    test_share: float = 0.1
    fit_valid: bool = False
    mask_seen: bool = True
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)
    recflow: RecFlowConfig = field(default_factory=RecFlowConfig)
    kuairand: KuaiRandConfig = field(default_factory=KuaiRandConfig)

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
