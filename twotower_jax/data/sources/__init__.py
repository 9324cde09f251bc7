"""Sources of logs: one module per source, one entry in ``SOURCES``."""

import importlib
from typing import TYPE_CHECKING, NamedTuple

from twotower_jax.errors import InputError
from twotower_jax.registry import Registry

if TYPE_CHECKING:
    from twotower_jax.config.data import DataConfig
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

    def load(self, config: "DataConfig") -> "FunnelLog":
        """Return the log as the source has it.

        Raises:
          InputError: for anything wrong in the files or in the configuration.
        """
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
# Keys that every source except the table would silently ignore.
_TABLE_KEYS = (
    "valid_path",
    "test_path",
    "users_path",
    "items_path",
    "separator",
    "list_separator",
    "clicked_values",
    "users_id",
    "items_id",
    "query_features",
    "candidate_features",
)


def load(config: "DataConfig") -> "FunnelLog":
    """Return the log of ``data.source`` up to ``data.until``, without rare entities.

    ``data.min_user_positives`` and ``data.min_item_positives`` say which are rare.

    Raises:
      InputError: an unknown source, a key that the source does not use, anything
        wrong in its files, or no positive left by the filters.
    """
    from twotower_jax.data.build import filter_log
    from twotower_jax.data.window import rows_before

    source = SOURCES[config.source]
    if config.source != "table":
        for key in _TABLE_KEYS:
            if value := getattr(config, key):
                raise InputError(
                    f"data.{key}={value!r} is used by data.source='table' only, and "
                    f"data.source={config.source!r}; leave data.{key} empty"
                )
    if not config.header and config.source != "table":
        raise InputError(
            "data.header=false is used by data.source='table' only, and "
            f"data.source={config.source!r}; leave it true"
        )
    if not config.history_clicks and config.source != "mind":
        raise InputError(
            "data.history_clicks=false is used by data.source='mind' only, and "
            f"data.source={config.source!r}; leave it true"
        )
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
