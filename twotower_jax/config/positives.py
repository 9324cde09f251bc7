"""Section ``positives``: resampling of the positives."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class PositivesConfig:
    """Resampling of the positives, drawn anew each epoch (sampling/positives.py)."""

    strategy: str = key("none", doc="name of the strategy")
    exponent: float = key(
        0.5,
        low=0,
        high=4,
        doc="exponent of upsample_cold and downsample_hot; power: of the clicks",
    )
    reference: float | None = key(
        None,
        above=0,
        doc="clicks of an item that is neither cold nor hot; null: the mean over items "
        "with a positive",
    )
    max_repeat: int = key(10, low=1, doc="upsample_cold: most copies of a positive")
    threshold: float = key(
        1e-3, above=0, doc="word2vec: share of the clicks below which all are kept"
    )
    cap: int = key(100, low=1, doc="cap: most positives per item and epoch")
    reweight: bool = key(
        False, doc="weigh a positive by 1 / w_i, which undoes the shift of the optimum"
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "positives")
