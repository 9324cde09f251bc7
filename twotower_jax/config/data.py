"""Section ``data``: the source of the log, its filters and its split."""

import dataclasses
import json
from dataclasses import dataclass, field

from twotower_jax.config.kuaishou import KuaiRandConfig, RecFlowConfig
from twotower_jax.config.schema import check_keys, key
from twotower_jax.config.simulator import SimulatorConfig
from twotower_jax.errors import InputError

FEATURE_KINDS = ("categorical", "multi", "numeric")
SPLITS = ("temporal", "leave_last_out", "ratio", "given")
SEPARATORS = ("comma", "tab", "semicolon", "bar", "space")
REPEATS = ("first", "last", "all")


@dataclass(unsafe_hash=True)
class ColumnsConfig:
    """Names of the columns of a table; null: the table does not have the column."""

    user: str = key("user", doc="ids of users, or of queries")
    item: str = key("item", doc="ids of items")
    time: str | None = key(None, doc="numbers, dates or ISO text")
    clicked: str | None = key(
        None,
        doc="1 for a positive, 0 for an exposed item, or `data.clicked_values`; beside "
        "lists of items: a list of 0 and 1, or the clicked ones of them",
    )
    rating: str | None = key(None, doc="numbers; positives from `data.min_rating` on")
    stage: str | None = key(
        None, doc="furthest stage of the item: retrieved, ..., exposed, clicked"
    )
    request: str | None = key(None, doc="the same value on all rows of one request")
    rank: str | None = key(
        None, doc="rank of the item within its stage of the request, from 0"
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "data.columns")


@dataclass
class DataConfig:
    """The source of the log, its filters and its split."""

    source: str = key("simulator", doc="name of the source")
    path: str | None = key(None, doc="file or folder of the data")
    valid_path: str | None = key(None, doc="file of the valid part of a table")
    test_path: str | None = key(None, doc="file of the test part of a table")
    users_path: str | None = key(None, doc="file of the features of users of a table")
    items_path: str | None = key(None, doc="file of the features of items of a table")
    separator: str | None = key(
        None,
        choices=SEPARATORS,
        doc="between the fields of a text table; null: by the ending, csv or tsv",
    )
    header: bool = key(
        True, doc="a text table begins with names; false: column_0, column_1, ..."
    )
    list_separator: str | None = key(
        None,
        choices=SEPARATORS,
        doc="between the items of a cell of a text table; null: one item per row",
    )
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    clicked_values: tuple[str, ...] = key(
        (), doc="values of `data.columns.clicked` of a positive; empty: 1 and true"
    )
    users_id: str | None = key(
        None, doc="column of ids in `data.users_path`; null: `data.columns.user`"
    )
    items_id: str | None = key(
        None, doc="column of ids in `data.items_path`; null: `data.columns.item`"
    )
    query_features: dict[str, str] = key(
        {}, choices=FEATURE_KINDS, doc="{column: kind} of the features of users"
    )
    candidate_features: dict[str, str] = key(
        {}, choices=FEATURE_KINDS, doc="{column: kind} of the features of items"
    )
    min_rating: float | None = key(
        None, doc="lowest rating of a positive; null: every rating is a positive"
    )
    history_clicks: bool = key(
        True, doc="MIND only: clicks before the log are positives of training"
    )
    min_user_positives: int = key(
        1, low=1, doc="users with fewer positives are left out"
    )
    min_item_positives: int = key(
        1, low=1, doc="items with fewer positives are left out, before the users"
    )
    split: str = key("temporal", choices=SPLITS, doc="division of the positives")
    valid_share: float = key(
        0.1, low=0, high=0.9, doc="share of the positives in the valid part"
    )
    test_share: float = key(
        0.1,
        low=0,
        high=0.9,
        doc="share of the positives in the test part; 0: no test, to train a model to "
        "serve",
    )
    repeats: str | None = key(
        None,
        choices=REPEATS,
        doc="positives of one user and item: first and last keep one of them, all "
        "keeps each and sets `data.mask_seen=false`, so that repeats count in the "
        "test; null: all train, and `data.mask_seen` decides whether they count",
    )
    since: str | None = key(
        None,
        doc="time, as in the log, before which positives are not trained on; they stay "
        "in histories and masks",
    )
    until: str | None = key(
        None,
        doc="time from which rows are left out, as if the log were read then",
    )
    fit_valid: bool = key(False, doc="train on the valid part too")
    mask_seen: bool = key(
        True, doc="do not retrieve items that the user clicked in training"
    )
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)
    recflow: RecFlowConfig = field(default_factory=RecFlowConfig)
    kuairand: KuaiRandConfig = field(default_factory=KuaiRandConfig)

    def __hash__(self) -> int:
        """Hash over the values (the feature dictionaries are not hashable)."""
        return hash(json.dumps(dataclasses.asdict(self), sort_keys=True))

    @property
    def has_test(self) -> bool:
        """Whether there is a test part: a share above 0, or a split without shares."""
        return self.test_share > 0 or self.split not in ("temporal", "ratio")

    def __post_init__(self) -> None:
        """Check each value, then the combinations of them."""
        check_keys(self, "data")
        if self.repeats == "all":
            self.mask_seen = False
        if self.valid_share + self.test_share >= 1:
            raise InputError(
                f"data.valid_share={self.valid_share} + data.test_share="
                f"{self.test_share} leave nothing to train on; keep the sum below 1"
            )
