"""Section ``baseline``: numbers and limits of the baselines, read where one is fitted.

An item-kNN or iALS whose fit would take more than about a minute on two cores is
refused by its limit, which a user who has the time and the memory raises. EASE is
refused where the free memory does not hold its matrix.
"""

from dataclasses import dataclass, field

from twotower_jax.registry import check_keys, key


@dataclass(unsafe_hash=True)
class ItemKnnConfig:
    """Item-kNN: the items clicked by the same users."""

    neighbours: int = key(
        200,
        low=1,
        doc="most similar items kept for each item",
        example="towers=item_knn baseline.item_knn.neighbours=50",
    )
    shrink: float = key(
        20.0,
        low=0,
        doc="added to the denominator of the cosine of two items, in users; 0: none",
        example="towers=item_knn baseline.item_knn.shrink=100",
    )
    max_pairs: int = key(
        1_000_000_000,
        low=1,
        doc="limit on the sum over users of (number of items)^2",
        example="towers=item_knn baseline.item_knn.max_pairs=10000000000",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "baseline.item_knn")


@dataclass(unsafe_hash=True)
class EaseConfig:
    """EASE: the ridge regression of each item on all others."""

    l2: float = key(
        200.0,
        above=0,
        doc="weight of the squared coefficients",
        example="towers=ease baseline.ease.l2=500",
    )
    max_size: int | None = key(
        None,
        low=2,
        doc="limit on the users or the items with a training positive, whichever are "
        "fewer; null: as many as the free memory holds, at 6 bytes per pair of them",
        example="towers=ease baseline.ease.max_size=30000",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "baseline.ease")


@dataclass(unsafe_hash=True)
class IalsConfig:
    """iALS: factors of the whole matrix of clicks by alternating least squares."""

    factors: int = key(
        64,
        low=1,
        doc="dimension of the factors",
        example="towers=ials baseline.ials.factors=128",
    )
    l2: float = key(
        0.01,
        above=0,
        doc="weight of the squared factors, times the row's weight",
        example="towers=ials baseline.ials.l2=0.003",
    )
    unobserved_weight: float = key(
        0.03,
        above=0,
        doc="weight of a pair without a click; a click adds 1",
        example="towers=ials baseline.ials.unobserved_weight=0.1",
    )
    iterations: int = key(
        16,
        low=1,
        doc="passes over users and items",
        example="towers=ials baseline.ials.iterations=32",
    )
    max_rows: int = key(
        1_000_000,
        low=2,
        doc="limit on users plus items with a training positive, at 64 factors",
        example="towers=ials baseline.ials.max_rows=5000000",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "baseline.ials")


@dataclass(unsafe_hash=True)
class BaselineConfig:
    """The baselines that are fitted in closed form or by alternating least squares."""

    item_knn: ItemKnnConfig = field(default_factory=ItemKnnConfig)
    ease: EaseConfig = field(default_factory=EaseConfig)
    ials: IalsConfig = field(default_factory=IalsConfig)
