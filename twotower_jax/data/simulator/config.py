"""Section ``data.simulator``: the embedded world."""

import math
from itertools import pairwise

from twotower_jax.errors import InputError
from twotower_jax.registry import key, keys_of

MAX_REQUESTS_PER_SECOND = 256


@keys_of("data.simulator")
class SimulatorConfig:
    """The embedded world; its formulas are in ``data/simulator/README.md``.

    A catalogue of fewer than twice ``retrieved`` items shrinks all stages in
    proportion, so that only ``exposed`` is bounded by ``items``.
    """

    users: int = key(5_000, low=2, high=10**8, doc="number of users", example="20000")
    items: int = key(
        20_000, low=1, high=2**31 - 1, doc="number of items at the end", example="50000"
    )
    requests: int = key(
        50_000,
        low=1,
        high=10**9,
        doc="number of requests, at most 256 per second",
        example="200000",
    )
    exposed: int = key(10, low=1, doc="items on the page of a request", example="20")
    re_ranked: int = key(
        20, low=1, doc="items that pass re-ranking, >= `exposed`", example="40"
    )
    ranked: int = key(
        50, low=1, doc="items that pass ranking, >= `re_ranked`", example="100"
    )
    pre_ranked: int = key(
        150, low=1, doc="items that pass pre-ranking, >= `ranked`", example="200"
    )
    retrieved: int = key(
        400,
        low=1,
        high=100_000,
        doc="items retrieved per request, >= `pre_ranked`",
        example="800",
    )
    kept: int = key(
        10,
        low=0,
        doc="rows of the log per discarded stage and request; 0: none",
        example="50",
    )
    from_popular: float = key(
        1.0,
        low=0,
        high=1e6,
        doc="relative share of the popular channel in retrieval",
        example="3",
    )
    from_similar: float = key(
        1.0, low=0, high=1e6, doc="relative share of the similar channel", example="0"
    )
    from_taste: float = key(
        1.0, low=0, high=1e6, doc="relative share of the taste channel", example="2"
    )
    latent_dim: int = key(8, low=1, high=256, doc="dimension of tastes", example="16")
    zipf_exponent: float = key(
        1.0,
        low=0,
        high=5,
        doc="the item at place r has popularity r^-zipf_exponent",
        example="0.5",
    )
    popular_quality: float = key(
        0.5,
        low=0,
        high=100,
        doc="weight of the quality of an item in its place",
        example="0",
    )
    taste_weight: float = key(
        1.5,
        low=0,
        high=100,
        doc="standard deviation of affinities due to taste, in log odds of a click",
        example="3",
    )
    quality_weight: float = key(
        0.3,
        low=0,
        high=100,
        doc="standard deviation of affinities due to quality, in log odds of a click",
        example="1",
    )
    items_per_author: int = key(
        20, low=1, doc="mean number of items per author", example="5"
    )
    author_spread: float = key(
        0.7,
        low=0,
        high=100,
        doc="standard deviation of tastes within an author; 1 between authors",
        example="0.3",
    )
    retrieval_noise: float = key(
        0.5,
        low=0,
        high=100,
        doc="standard deviation of the noise of a taste in retrieval",
        example="1.5",
    )
    pre_ranking_noise: float = key(
        1.5,
        low=0,
        high=100,
        doc="standard deviation of the noise of a pre-ranking score",
        example="0.5",
    )
    ranking_noise: float = key(
        0.75,
        low=0,
        high=100,
        doc="standard deviation of the noise of a ranking score",
        example="0.25",
    )
    popularity_pull: float = key(
        0.2,
        low=0,
        high=100,
        doc="weight of log popularity in both scores; the truth does not have it",
        example="0",
    )
    variety: float = key(
        0.3,
        low=0,
        high=100,
        doc="deduction in re-ranking per better item of the same author",
        example="1",
    )
    position_bias: float = key(
        0.7,
        low=0,
        high=1,
        doc="the item at position k is examined with probability k^-position_bias",
        example="0",
    )
    click_rate: float = key(
        0.2,
        low=0,
        high=1,
        doc="approximate mean probability of a click on an exposed item",
        example="0.05",
    )
    activity_spread: float = key(
        1.0,
        low=0,
        high=5,
        doc="standard deviation of the log activity of users",
        example="0",
    )
    history: int = key(
        50,
        low=1,
        high=1_000,
        doc="last clicks of a user that retrieval uses",
        example="10",
    )
    growth: float = key(
        0.25,
        low=0,
        high=100,
        doc="items that appear during the log per item at its start; 0: none",
        example="1",
    )
    drift: float = key(
        0.5,
        low=0,
        high=math.pi,
        doc="angle in radians by which tastes turn during the log; 0: none",
        example="1.5",
    )
    days: int = key(
        30,
        low=1,
        high=100_000,
        doc="days from the first request to the last",
        example="90",
    )
    feature_noise: float = key(
        0.5,
        low=0,
        high=100,
        doc="standard deviation of the noise of tastes in features",
        example="0.1",
    )
    seed: int = key(0, low=0, doc="seed of the world and its log", example="7")

    def __post_init__(self) -> None:
        stages = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")
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
        if self.requests > MAX_REQUESTS_PER_SECOND * 86_400 * self.days:
            raise InputError(
                f"data.simulator.requests={self.requests} are more than "
                f"{MAX_REQUESTS_PER_SECOND} per second; raise data.simulator.days="
                f"{self.days}, or lower requests"
            )
