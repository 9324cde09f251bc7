"""Section ``loss``: the loss and its correction by log q."""

from dataclasses import dataclass, field

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class StreamingConfig:
    """The streaming estimator of item frequencies (sampling/frequency.py)."""

    buckets: int | None = key(
        None, low=1, doc="buckets per hash; null: four per item of the catalogue"
    )
    hashes: int = key(2, low=1, high=16, doc="number of hashes")
    alpha: float = key(
        0.01, low=0, high=1, doc="weight of the last gap in the moving mean"
    )
    initial_gap: float = key(
        100.0, low=1, doc="gap in steps of an item that was not seen yet"
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
    )
    frequency: str = key(
        "counts",
        choices=("counts", "streaming"),
        doc="origin of the frequencies of positives: exact counts, or the stream",
    )
    streaming: StreamingConfig = field(default_factory=StreamingConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.logq")


@dataclass(unsafe_hash=True)
class LossConfig:
    """The loss and its numbers."""

    name: str = key("sampled_softmax", doc="name of the loss")
    temperature: float = key(
        0.07, above=0, doc="divides the scores in training; serving does not use it"
    )
    learn_temperature: bool = key(False, doc="learn the temperature through its log")
    ratio: float | None = key(
        None,
        above=0,
        doc="bce, gbce: sum of the weights of the negatives per positive; null: 1 each",
    )
    margin: float = key(
        0.2, above=0, doc="hinge: margin, in units of the score without temperature"
    )
    calibration: float = key(
        0.75, low=0, high=1, doc="gbce: t, from 0 (bce) to 1 (calibrated)"
    )
    logq: LogqConfig = field(default_factory=LogqConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss")
