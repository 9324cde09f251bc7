"""Section ``data``: the source of the log, its filters and its split."""

import dataclasses
import json
import os
from dataclasses import field

from twotower_jax.data.kuaishou import KuaiRandConfig, RecFlowConfig
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.errors import InputError
from twotower_jax.registry import check_local, key, keys_of

FEATURE_KINDS = ("categorical", "multi", "numeric", "vector")
SPLITS = ("temporal", "leave_last_out", "ratio", "given")
SEPARATORS = ("comma", "tab", "semicolon", "bar", "space")
PATHS = ("path", "valid_path", "test_path", "users_path", "items_path")
REPEATS = ("first", "last", "all")
TABLE = "data=table data.path=clicks.csv"  # of examples


@keys_of("data.columns")
class ColumnsConfig:
    """Names of the columns of a table; null: the table does not have the column."""

    user: str = key(
        "user",
        doc="column of the ids of users, or of queries",
        example=f"{TABLE} data.columns.user=account",
    )
    item: str = key(
        "item",
        doc="column of the ids of items, or of lists of them",
        example=f"{TABLE} data.columns.item=product",
    )
    time: str | None = key(
        None,
        doc="column of times: numbers, dates or ISO text, of which the order is "
        "used; null: none",
        example=f"{TABLE} data.columns.time=at data.split=temporal",
    )
    clicked: str | None = key(
        None,
        doc="column with 1 for a positive and 0 for an exposed item, or with "
        "`data.clicked_values`; beside lists of items: a list of 0 and 1, "
        "the clicked ones of them, or an event of all of them; null: none",
        example=f"{TABLE} data.columns.clicked=is_click",
    )
    rating: str | None = key(
        None,
        doc="column of numbers, positives from `data.min_rating` on; null: none",
        example=f"{TABLE} data.columns.rating=stars data.min_rating=4",
    )
    stage: str | None = key(
        None,
        doc="column of the furthest stage of the item: retrieved, ..., exposed, "
        "clicked; null: none",
        example=f"{TABLE} data.columns.stage=stage",
    )
    request: str | None = key(
        None,
        doc="column with one value on all rows of a request, which "
        "negatives.hard.pool=request needs; null: none",
        example=f"{TABLE} data.columns.stage=stage data.columns.request=request_id",
    )
    rank: str | None = key(
        None,
        doc="column of the rank of the item within its stage of the request, "
        "from 0; null: none",
        example="data=table data.path=clicks.csv data.columns.stage=stage "
        "data.columns.request=request_id data.columns.rank=place",
    )
    weight: str | None = key(
        None,
        decides=False,  # positives.weight does
        doc="column of the weights of positives, which positives.weight sets, and "
        "which is refused without it; null: none",
        example=f"{TABLE} positives.weight=grade",
    )

    def __post_init__(self) -> None:
        if self.user == self.item:
            raise InputError(
                f"data.columns.user={self.user} and data.columns.item={self.item} name "
                "one column, so each user would have itself as its only item; set one "
                "of them to another column"
            )


@keys_of("data")
class DataConfig:
    """The source of the log, its filters and its split."""

    source: str = key(
        "simulator",
        doc="reader of the log; `data=NAME` sets it and the other defaults of "
        "the source",
        example="data=movielens data.path=ml-latest-small",
    )
    path: str | None = key(
        None,
        decides=False,
        doc="file or folder of the data; null: none (the simulator reads no files)",
        example="data=table data.path=clicks.csv",
    )
    valid_path: str | None = key(
        None,
        doc="table with split given: file of the valid part; null: a part of train, by "
        "`data.valid_share`",
        example="data=table data.path=clicks.csv data.split=given "
        "data.valid_path=valid.csv data.test_path=test.csv",
    )
    test_path: str | None = key(
        None,
        doc="table with split given: file of the test part; null: none",
        example=f"{TABLE} data.split=given data.test_path=test.csv",
    )
    users_path: str | None = key(
        None,
        doc="table: file of the features of users; null: they are columns of the log",
        example="data=table data.path=clicks.csv data.users_path=users.parquet "
        "data.query_features={age:numeric}",
    )
    items_path: str | None = key(
        None,
        doc="table: file of the features of items; null: they are columns of the log",
        example="data=table data.path=clicks.csv data.items_path=items.csv "
        "data.candidate_features={shop:categorical}",
    )
    separator: str | None = key(
        None,
        choices=SEPARATORS,
        doc="between the fields of a text table; null: by the ending, comma for "
        "csv and tab for tsv",
        example="data=table data.path=clicks.txt data.separator=semicolon",
    )
    header: bool = key(
        True,
        doc="a text table begins with names; false: the columns are column_0, "
        "column_1, ...",
        example="data=table data.path=u.data data.separator=tab data.header=false "
        "data.columns.user=column_0 data.columns.item=column_1",
    )
    list_separator: str | None = key(
        None,
        choices=SEPARATORS,
        doc="between the items of a cell of a text table; null: one item per row",
        example="data=table data.path=sessions.csv data.list_separator=space",
    )
    time_format: str | None = key(
        None,
        doc="form of the times of a table, in the signs of strftime, for those that "
        "are not read without it, such as 31/05/2024; null: numbers, ISO dates, or "
        "dates with dots",
        example=f"{TABLE} data.columns.time=at data.time_format='%d/%m/%Y %H:%M'",
    )
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    clicked_values: tuple[str, ...] = key(
        (),
        doc="values of `data.columns.clicked` that are positives; []: 1 and true",
        example="data=table data.path=clicks.csv data.columns.clicked=event "
        "data.clicked_values=[click,purchase]",
    )
    users_id: str | None = key(
        None,
        doc="column of ids in `data.users_path`; null: `data.columns.user`",
        example="data=table data.path=clicks.csv data.users_path=users.csv "
        "data.users_id=account data.query_features={age:numeric}",
    )
    items_id: str | None = key(
        None,
        doc="column of ids in `data.items_path`; null: `data.columns.item`",
        example="data=table data.path=clicks.csv data.items_path=items.csv "
        "data.items_id=sku data.candidate_features={shop:categorical}",
    )
    query_features: dict[str, str] = key(
        {},
        choices=FEATURE_KINDS,
        doc="table: {column: kind} of the features of users, a vector being a list of "
        "numbers of one length; {}: none",
        example="data=table data.path=clicks.csv "
        "data.query_features={age:numeric,town:categorical}",
    )
    candidate_features: dict[str, str] = key(
        {},
        choices=FEATURE_KINDS,
        doc="table: {column: kind} of the features of items, a vector being a list of "
        "numbers of one length; {}: none",
        example="data=table data.path=clicks.csv "
        "data.candidate_features={shop:categorical,genres:multi,text:vector}",
    )
    min_rating: float | None = key(
        None,
        doc="lowest rating of a positive, in the units of the ratings; null: "
        "every rating is a positive",
        example="data=movielens data.path=ml-latest-small data.min_rating=3.5",
    )
    history_clicks: bool = key(
        True,
        doc="MIND only: clicks before the log are positives of training",
        example="data=mind data.path=mind data.history_clicks=false",
    )
    min_user_positives: int = key(
        1,
        low=1,
        doc="users with fewer positives are left out, with all their rows; 1: none",
        example="5",
    )
    min_item_positives: int = key(
        1,
        low=1,
        doc="items with fewer positives are left out, before the users; 1: none",
        example="5",
    )
    split: str = key(
        "temporal",
        choices=SPLITS,
        doc="division of the positives; temporal: at two times of the log; "
        "leave_last_out: a user's last is test, the one before valid; ratio: shares "
        "of a user's last ones; given: the parts of the data, and `data.valid_share` "
        "of its train part where it has no valid part",
    )
    valid_share: float = key(
        0.1,
        low=0,
        high=0.9,
        doc="splits temporal and ratio: share of the positives in the valid part; "
        "given, without a valid part: share of its train part; 0: no valid part",
        example="0.05",
    )
    test_share: float = key(
        0.1,
        low=0,
        high=0.9,
        doc="splits temporal and ratio: share of the positives in the test "
        "part; 0: no test, to train a model to serve",
        example="0.2",
    )
    repeats: str | None = key(
        None,
        choices=REPEATS,
        doc="positives of one user and item: first and last keep one of them, all "
        "keeps each and sets `data.mask_seen=false`, so that repeats count in the "
        "test; null: all train, and `data.mask_seen` decides whether they count",
        example="first",
    )
    fit_valid: bool = key(
        False,
        doc="train on the valid part too, for as many steps as are best on it in a run "
        "without it, which comes first; with training.steps, training.patience=0 or "
        "one validation alone for the steps or epochs that are given",
        example="data.fit_valid=true",
    )
    since: str | None = key(
        None,
        doc="time, as in the log, before which positives are not trained on; they stay "
        "in histories and masks; null: none",
        example="2024-05-01",
    )
    until: str | None = key(
        None,
        doc="time from which rows are left out, as if the log were read then; "
        "null: none",
        example="2024-06-01",
    )
    mask_seen: bool = key(
        True,
        doc="do not retrieve items that the user clicked in training; false: "
        "seen items compete, and repeated clicks count",
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
        for name in PATHS:
            if (path := getattr(self, name)) is not None:
                check_local(f"data.{name}", path)
                setattr(self, name, os.path.expanduser(path))
        if self.repeats == "all":
            self.mask_seen = False
        if self.valid_share + self.test_share >= 1:
            raise InputError(
                f"data.valid_share={self.valid_share} + data.test_share="
                f"{self.test_share} leave nothing to train on; keep the sum below 1"
            )
