"""Section ``positives``: resampling and weights of the positives."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class PositivesConfig:
    """Resampling of the positives, anew each epoch, and their weights in the loss."""

    strategy: str = key(
        "none",
        doc="resampling of the positives, anew in each epoch",
        example="positives=downsample_hot",
    )
    exponent: float = key(
        0.5,
        low=0,
        high=4,
        doc="upsample_cold and downsample_hot: exponent of reference / clicks; "
        "power: of the clicks",
        example="positives=downsample_hot positives.exponent=0.25",
    )
    reference: float | None = key(
        None,
        above=0,
        doc="clicks of an item that is neither cold nor hot; null: the mean over items "
        "with a positive",
        example="positives=downsample_hot positives.reference=50",
    )
    max_repeat: int = key(
        10,
        low=1,
        doc="upsample_cold: most copies of a positive per epoch",
        example="positives=upsample_cold positives.max_repeat=4",
    )
    threshold: float = key(
        1e-3,
        above=0,
        doc="word2vec, word2vec_c: share of the clicks below which all "
        "positives of an item are kept",
        example="positives=word2vec positives.threshold=1.0e-4",
    )
    cap: int = key(
        100,
        low=1,
        doc="cap: most positives per item and epoch",
        example="positives=cap positives.cap=20",
    )
    reweight: bool = key(
        False,
        doc="weigh a positive by 1 / w_i, which undoes the shift of the optimum",
        example="positives=downsample_hot positives.reweight=true",
    )
    weight: str | None = key(
        None,
        doc="column of the log with the weight of each positive, such as a grade or a "
        "watch time, in any unit; null: all weigh the same",
        example="data=table data.path=clicks.csv positives.weight=grade",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "positives")
