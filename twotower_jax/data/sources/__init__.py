"""Sources of logs: one module per source, one entry in ``SOURCES``."""

import dataclasses
import importlib
import operator
from typing import TYPE_CHECKING, NamedTuple

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry

if TYPE_CHECKING:
    from twotower_jax.data.log import FunnelLog


class Source(NamedTuple):
    """A source of logs.

    Attributes:
      description: one line for ``twotower data list``.
      module: the module of this package whose ``load`` reads the source. It is
        imported on use, so that the list of sources needs none of the libraries.
      has_truth: whether the probability of a click is known for every user and item.
      reads_files: whether the log depends on files, not on the configuration alone.
      weighs: whether it reads weights of positives from a column.
    """

    description: str
    module: str
    has_truth: bool = False
    reads_files: bool = True
    weighs: bool = False

    def load(self, config: DataConfig) -> "FunnelLog":
        """Return the log as the source has it."""
        return importlib.import_module(self.module).load(config)


SOURCES: Registry[Source] = Registry(
    "data.source",
    {
        "simulator": Source(
            "embedded world of users, items, exposures and clicks (data.simulator.*)",
            "twotower_jax.data.sources.simulated",
            has_truth=True,
            reads_files=False,
        ),
        "table": Source(
            "any csv, tsv, jsonl, parquet or feather file (data.path, data.columns.*)",
            "twotower_jax.data.sources.table",
            weighs=True,
        ),
        "prepared": Source(
            "folder of twotower data prepare: a log of any source as arrays on disk",
            "twotower_jax.data.prepared.load",
            weighs=True,
        ),
        "movielens": Source(
            "folder of MovieLens: latest, 25M, 20M, 10M, 1M, 100K",
            "twotower_jax.data.sources.movielens",
            weighs=True,
        ),
        "lightgcn": Source(
            "folder with train.txt, [valid.txt], test.txt: 'user item item'",
            "twotower_jax.data.sources.lightgcn",
        ),
        "mind": Source(
            "folder of MIND: news shown together, some of them clicked",
            "twotower_jax.data.sources.mind",
        ),
        "recbole": Source(
            "folder of RecBole's atomic files: NAME.inter, .user, .item",
            "twotower_jax.data.sources.recbole",
            weighs=True,
        ),
        "recflow": Source(
            "folder of RecFlow: items discarded by each stage of a funnel, by day",
            "twotower_jax.data.sources.recflow",
        ),
        "kuairand": Source(
            "folder of KuaiRand: shown videos, and others shown at random to test on",
            "twotower_jax.data.sources.kuairand",
            weighs=True,
        ),
        "wikispeedia": Source(
            "folder of Wikispeedia paths: links shown, one of them clicked",
            "twotower_jax.data.sources.wikispeedia",
        ),
    },
)
TABLE = ("table",)
NAMED = ("table", "recbole")  # with columns that have names
# The sources that read a key of the section; any other one would ignore its value. A
# prepared folder compares its keys itself.
READ_BY: dict[str, tuple[str, ...]] = {
    "path": tuple(name for name, one in SOURCES.items() if one.reads_files),
    "valid_path": TABLE,
    "test_path": TABLE,
    "users_path": TABLE,
    "items_path": TABLE,
    "separator": TABLE,
    "header": TABLE,
    "list_separator": TABLE,
    "time_format": TABLE,
    "clicked_values": TABLE,
    "users_id": TABLE,
    "items_id": TABLE,
    "query_features": TABLE,
    "candidate_features": TABLE,
    "min_rating": ("table", "movielens", "recbole"),
    "history_clicks": ("mind",),
    **{
        f"columns.{one.name}": NAMED
        for one in dataclasses.fields(ColumnsConfig)
        if one.name != "weight"
    },
}


def load(config: DataConfig) -> "FunnelLog":
    """Return the log of ``data.source`` up to ``data.until``, without rare entities.

    ``data.min_user_positives`` and ``data.min_item_positives`` say which are rare.
    """
    from twotower_jax.data.build import filter_log
    from twotower_jax.data.split import rows_before

    source = SOURCES[config.source]
    check_read(config)
    if config.columns.weight is not None and not source.weighs:
        weighing = ", ".join(name for name, one in SOURCES.items() if one.weighs)
        raise InputError(
            f"positives.weight={config.columns.weight} reads a column of the log, and "
            f"data.source={config.source!r} has no numbers in columns; leave it out, "
            f"or use one of the sources: {weighing}"
        )
    log = rows_before(source.load(config), config.until)
    return filter_log(
        log,
        min_user_positives=config.min_user_positives,
        min_item_positives=config.min_item_positives,
    )


def check_read(config: DataConfig) -> None:
    """Refuse a value of a key that the source does not read."""
    if config.source == "prepared":
        return
    plain = DataConfig(source=config.source)
    for key, sources in READ_BY.items():
        read = operator.attrgetter(key)
        value, default = read(config), read(plain)
        if value == default or config.source in sources:
            continue
        word = str(value).lower() if isinstance(value, bool) else value
        raise InputError(
            f"data.{key}={word} is not read by data.source={config.source}; leave it "
            f"out, or name a source that reads it by data=NAME: {', '.join(sources)}"
        )
