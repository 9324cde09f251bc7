"""Where logs come from: one file a source, one line in ``SOURCES``."""

from collections.abc import Callable
from typing import NamedTuple

from twotower_jax.config.data import DataConfig
from twotower_jax.data.build import filter_log
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.simulator import simulate
from twotower_jax.data.sources import (
    kuairand,
    lightgcn,
    mind,
    movielens,
    recbole,
    recflow,
    table,
    wikispeedia,
)
from twotower_jax.errors import InputError, unknown


class Source(NamedTuple):
    """How a source is read, and one line about it."""

    load: Callable[[DataConfig], FunnelLog]
    description: str


def _simulated(config: DataConfig) -> FunnelLog:
    """Return the log of the embedded world.

    Raises:
      InputError: a world that does not fit into the memory.
    """
    world = config.simulator
    try:
        return simulate(world)
    except MemoryError:
        raise InputError(
            f"data.simulator: users={world.users}, items={world.items} and requests="
            f"{world.requests} need more memory than there is; lower them"
        ) from None


SOURCES: dict[str, Source] = {
    "simulator": Source(
        _simulated,
        "embedded world of users, items, exposures and clicks (data.simulator.*)",
    ),
    "table": Source(
        table.load, "any csv, tsv, parquet or feather file (data.path, data.columns.*)"
    ),
    "movielens": Source(
        movielens.load, "folder of MovieLens: latest, 25M, 20M, 10M, 1M, 100K"
    ),
    "lightgcn": Source(
        lightgcn.load, "folder with train.txt, [valid.txt], test.txt: 'user item item'"
    ),
    "mind": Source(
        mind.load, "folder of MIND: news shown together, some of them clicked"
    ),
    "recbole": Source(
        recbole.load, "folder of RecBole's atomic files: NAME.inter, .user, .item"
    ),
    "recflow": Source(
        recflow.load,
        "folder of RecFlow: what each stage of a funnel threw out, day by day",
    ),
    "kuairand": Source(
        kuairand.load,
        "folder of KuaiRand: shown videos, and others shown at random to test on",
    ),
    "wikispeedia": Source(
        wikispeedia.load,
        "folder of Wikispeedia paths: links shown, one of them clicked",
    ),
}
# Keys that would be ignored without a word by every source but the table.
_TABLE_KEYS = (
    "valid_path",
    "test_path",
    "users_path",
    "items_path",
    "query_features",
    "candidate_features",
)


def load(config: DataConfig) -> FunnelLog:
    """Return the log of ``data.source``, filtered by ``data.min_*_positives``.

    Raises:
      InputError: an unknown source, a key that the source does not use, anything
        wrong in its files, or no positive left by the filters.
    """
    if config.source not in SOURCES:
        raise unknown("data.source", config.source, SOURCES)
    if config.source != "table":
        for key in _TABLE_KEYS:
            if value := getattr(config, key):
                raise InputError(
                    f"data.{key}={value!r} is used by data.source='table' only, and "
                    f"data.source={config.source!r}; leave data.{key} empty"
                )
    if not config.history_clicks and config.source != "mind":
        raise InputError(
            "data.history_clicks=false is used by data.source='mind' only, and "
            f"data.source={config.source!r}; leave it true"
        )
    log = SOURCES[config.source].load(config)
    return filter_log(
        log,
        min_user_positives=config.min_user_positives,
        min_item_positives=config.min_item_positives,
    )
