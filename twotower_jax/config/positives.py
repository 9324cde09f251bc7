"""Section ``positives``: resampling and weights of the positives."""

import os
from dataclasses import dataclass, field

from twotower_jax.config.checks import local_path
from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class ListsConfig:
    """Positives from the lists of another model, in training alone."""

    path: str | None = key(
        None,
        doc="table with columns user, item and perhaps rank: best items of users by "
        "another model, which are positives beside the clicks; null: none",
        example="positives.lists.path=lists.parquet",
    )
    length: int = key(
        10,
        low=1,
        doc="items of each list that are read: those of the first ranks, without ranks "
        "the first rows of the user",
        example="positives.lists.path=lists.parquet positives.lists.length=5",
    )
    weight: float = key(
        0.3,
        above=0,
        high=100,
        doc="weight of a listed item in the loss, in units of the mean click",
        example="positives.lists.path=lists.parquet positives.lists.weight=0.1",
    )

    def __post_init__(self) -> None:
        """Check each value, and that the path is one of this machine."""
        check_keys(self, "positives.lists")
        if self.path is not None:
            local_path("positives.lists.path", self.path)
            self.path = os.path.expanduser(self.path)


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
    lists: ListsConfig = field(default_factory=ListsConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "positives")
