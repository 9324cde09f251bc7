"""Section ``loss``: the loss and its correction by log q."""

from dataclasses import dataclass, field

from twotower_jax.config.loss_use import COSINE
from twotower_jax.config.schema import check_keys, key
from twotower_jax.config.self_supervised import SelfSupervisedConfig
from twotower_jax.config.two_way import TwoWayConfig
from twotower_jax.errors import InputError


@dataclass(unsafe_hash=True)
class StreamingConfig:
    """The streaming estimator of item frequencies (sampling/frequency.py)."""

    buckets: int | None = key(
        None,
        low=1,
        doc="buckets per hash; null: four per item of the catalogue",
        example="loss.logq.frequency=streaming loss.logq.streaming.buckets=100000",
    )
    hashes: int = key(
        2,
        low=1,
        high=16,
        doc="number of hashes, each with its own buckets",
        example="loss.logq.frequency=streaming loss.logq.streaming.hashes=5",
    )
    alpha: float = key(
        0.01,
        low=0,
        high=1,
        doc="weight of the last gap in the moving mean of an item's gaps",
        example="loss.logq.frequency=streaming loss.logq.streaming.alpha=0.1",
    )
    initial_gap: float = key(
        100.0,
        low=1,
        doc="gap in steps of an item that was not seen yet",
        example="loss.logq.frequency=streaming loss.logq.streaming.initial_gap=1000",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.logq.streaming")


@dataclass(unsafe_hash=True)
class LogqConfig:
    """Correction by the log of the expected count of a candidate in the row."""

    correct: str = key(
        "all",
        choices=("none", "all", "negatives"),
        doc="logits that are corrected; all: the positive too",
        example="none",
    )
    frequency: str = key(
        "counts",
        choices=("counts", "streaming"),
        doc="origin of the frequencies of positives: exact counts, or the stream",
        example="streaming",
    )
    strength: float = key(
        1.0,
        low=0,
        high=1,
        doc="factor of the log of the expected count; 1: the whole correction",
        example="0.5",
    )
    streaming: StreamingConfig = field(default_factory=StreamingConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.logq")
        if self.strength < 1 and self.correct == "none":
            raise InputError(
                f"loss.logq.strength={self.strength} has no use with loss.logq.correct="
                "none, which subtracts no log q; set loss.logq.correct=all or negatives"
                ", or loss.logq.strength=1"
            )


@dataclass(unsafe_hash=True)
class AtKConfig:
    """Weights of rows by the user's k-th best score, and the estimate of it."""

    k: int = key(
        20,
        low=1,
        doc="softmax_at_k: rank of the score to which the positive is compared",
        example="loss=softmax_at_k loss.at_k.k=50",
    )
    temperature: float = key(
        2.5,
        above=0,
        doc="softmax_at_k: temperature of the weights, in units of the cosine",
        example="loss=softmax_at_k loss.at_k.temperature=4",
    )
    sampled: int = key(
        1000,
        low=1,
        doc="softmax_at_k: items that are sampled for the estimate beside the user's "
        "positives; the whole catalogue where that is smaller",
        example="loss=softmax_at_k loss.at_k.sampled=5000",
    )
    every: float = key(
        0.1,
        above=0,
        training=True,
        doc="softmax_at_k: share of the training between two estimates, and before the "
        "first one; until then the score is 0",
        example="loss=softmax_at_k loss.at_k.every=0.025",
    )

    def __post_init__(self) -> None:
        """Check each value, then that the sample has a k-th score."""
        check_keys(self, "loss.at_k")
        if self.k > self.sampled:
            raise InputError(
                f"loss.at_k.k={self.k} is larger than the number of items of which the "
                f"k-th best score is estimated, loss.at_k.sampled={self.sampled}; "
                "raise loss.at_k.sampled, or lower loss.at_k.k"
            )


@dataclass(unsafe_hash=True)
class LossConfig:
    """The loss and its numbers."""

    name: str = key(
        "sampled_softmax",
        doc="loss of a row; `loss=NAME` sets it and the other defaults of the loss",
        example="loss=bce",
    )
    temperature: float = key(
        0.14,
        above=0,
        doc="divides the scores in training, such as a cosine in [-1, 1]; "
        "serving does not use it",
        example="0.07",
    )
    learn_temperature: bool = key(
        False, doc="learn the temperature by the training loss, through its log"
    )
    temperature_rate: float = key(
        0.001,
        above=0,
        doc="learned temperature: rate of its gradient descent",
        example="loss.learn_temperature=true loss.temperature_rate=0.01",
    )
    temperature_min: float | None = key(
        None,
        above=0,
        doc="learned temperature: lowest value; null: its start, `loss.temperature`",
        example="loss.learn_temperature=true loss.temperature_min=0.05",
    )
    temperature_max: float = key(
        1.0,
        above=0,
        doc="learned temperature: highest value",
        example="loss.learn_temperature=true loss.temperature_max=0.5",
    )
    ratio: float | None = key(
        None,
        above=0,
        doc="bce, gbce: sum of the weights of the negatives per positive; null: 1 each",
        example="loss=bce loss.ratio=1",
    )
    margin: float = key(
        0.2,
        above=0,
        doc="hinge: lead of the positive, ccl: cosine above which a negative is "
        "pushed; in units of the score without temperature",
        example="loss=hinge loss.margin=0.5",
    )
    calibration: float = key(
        0.75,
        low=0,
        high=1,
        doc="gbce: t, from 0 (bce) to 1 (calibrated)",
        example="loss=gbce loss.calibration=0.5",
    )
    offset: float = key(
        0.0,
        low=-50,
        high=50,
        doc="bce, gbce: constant added to all logits of training; minus the log of the "
        "number of negatives is their share, without which many of them learn slowly",
        example="loss=bce loss.offset=-5.5",
    )
    decoupled: bool = key(
        False,
        doc="softmax, psl: leave the positive out of the sum over the negatives",
        example="loss.decoupled=true",
    )
    negative_weight: float = key(
        1.0,
        above=0,
        doc="softmax: factor of the log of the sum, ccl: of the mean over negatives",
        example="1.2",
    )
    activation: str = key(
        "tanh",
        choices=("tanh", "atan", "relu"),
        doc="psl: surrogate of a lead of a negative",
        example="loss=psl loss.activation=relu",
    )
    tau_plus: float = key(
        0.01,
        low=0,
        high=0.99,
        doc="dcl, hcl: share of the negatives that is taken to be positives",
        example="loss=dcl loss.tau_plus=0.05",
    )
    beta: float = key(
        0.5,
        low=0,
        doc="hcl: concentration on hard negatives; 0: dcl",
        example="loss=hcl loss.beta=1",
    )
    stage_pairs: float = key(
        0.0,
        low=0,
        doc="weight of the pairs of a row's slots from two stages of the log, the "
        "later stage above, easy slots below all; 0: none",
        example="negatives=hard loss.stage_pairs=1",
    )
    at_k: AtKConfig = field(default_factory=AtKConfig)
    logq: LogqConfig = field(default_factory=LogqConfig)
    two_way: TwoWayConfig = field(default_factory=TwoWayConfig)
    self_supervised: SelfSupervisedConfig = field(default_factory=SelfSupervisedConfig)

    def __post_init__(self) -> None:
        """Check each value, then the learned temperature."""
        check_keys(self, "loss")
        if self.learn_temperature:
            self._check_learned()

    @property
    def lowest_temperature(self) -> float:
        """Lowest value of a learned temperature."""
        return self.temperature_min or self.temperature

    def _check_learned(self) -> None:
        """Check that the loss has a use for the temperature, and the bounds."""
        if self.name == "hinge":
            raise InputError(
                "loss.learn_temperature=true has no use with loss.name=hinge: its "
                "margin is in units of the cosine, and the temperature only weighs log "
                "q; set loss.learn_temperature=false, or another loss.name"
            )
        if self.name in COSINE:
            raise InputError(
                f"loss.learn_temperature=true cannot work with loss.name={self.name}, "
                "which is a function of cosines whose temperature is fixed; set "
                "loss.learn_temperature=false, or another loss.name"
            )
        low, high = self.lowest_temperature, self.temperature_max
        if not low <= self.temperature <= high:
            raise InputError(
                f"loss.temperature={self.temperature} starts a learned temperature "
                f"outside its bounds, loss.temperature_min={low} and "
                f"loss.temperature_max={high}; change one of the three"
            )
