"""Section ``loss``: the loss and its correction by log q."""

from dataclasses import dataclass, field

from twotower_jax.config.schema import check_keys, key
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
    streaming: StreamingConfig = field(default_factory=StreamingConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.logq")


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
        doc="hinge: margin, in units of the score without temperature",
        example="loss=hinge loss.margin=0.5",
    )
    calibration: float = key(
        0.75,
        low=0,
        high=1,
        doc="gbce: t, from 0 (bce) to 1 (calibrated)",
        example="loss=gbce loss.calibration=0.5",
    )
    logq: LogqConfig = field(default_factory=LogqConfig)
    two_way: TwoWayConfig = field(default_factory=TwoWayConfig)

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
        low, high = self.lowest_temperature, self.temperature_max
        if not low <= self.temperature <= high:
            raise InputError(
                f"loss.temperature={self.temperature} starts a learned temperature "
                f"outside its bounds, loss.temperature_min={low} and "
                f"loss.temperature_max={high}; change one of the three"
            )
