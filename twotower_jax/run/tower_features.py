"""Features of the towers, where the configuration leaves their choice to the data."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from twotower_jax.config import Config
from twotower_jax.data.sizes import Sizes
from twotower_jax.run.loader import Loaded

# With fewer training positives per user, a history is mostly empty.
MIN_HISTORY = 2.0
# With fewer, an id is seen too rarely to add to the history, and is learned by heart.
MIN_ID = 10.0


def choose_features(config: Config, data: Loaded) -> Config:
    """The configuration with the features of both towers named.

    An empty ``towers.query`` becomes `query_features`, with a transformer the history
    too, and an empty ``towers.candidate`` id and the features of items. The choice
    reads the training part and the features alone.
    """
    query = config.towers.query or query_features(data, config.towers.history_length)
    return _named(config, query, data.log.item_features)


def features_of_sizes(config: Config, sizes: Sizes) -> Config:
    """The configuration with the features that `choose_features` gives such a log."""
    query = config.towers.query or described_query(
        tuple(sorted(sizes.user_features)),
        sizes.positives / max(1, sizes.active),
        MIN_ID if sizes.timed else config.towers.history_length,
    )
    return _named(config, query, sizes.item_features)


def _named(config: Config, query: tuple[str, ...], of_items: Iterable[str]) -> Config:
    """Return the configuration with these query features, and a transformer's."""
    towers = config.towers
    if towers.history_pooling == "transformer" and "history" not in query:
        query = (*query, "history")
    candidate = towers.candidate or ("id", *sorted(of_items))
    if (query, candidate) == (towers.query, towers.candidate):
        return config
    return replace(config, towers=replace(towers, query=query, candidate=candidate))


def query_features(data: Loaded, history_length: int) -> tuple[str, ...]:
    """Names of the features that describe the queries of a log.

    All features of users, and
    * history, where users have 2 training positives or more on average, or where no
      feature describes them;
    * id, beside a history that does not hold all of them: where users have 10 or more
      and the log has times (a row is trained on earlier positives), or more than
      ``history_length`` and it has none (a row is trained on all the others).
    """
    described = tuple(sorted(data.log.user_features))
    train = data.split.train
    mean = len(train) / max(1, len(np.unique(train.user)))
    enough = MIN_ID if train.time is not None else history_length
    return described_query(described, mean, enough)


def described_query(
    described: tuple[str, ...], mean: float, enough: float
) -> tuple[str, ...]:
    """Names of the features that describe queries, from numbers.

    Examples:
      >>> described_query((), 12.0, 10.0), described_query(("age",), 1.0, 10.0)
      (('id', 'history'), ('age',))
    """
    if described and mean < MIN_HISTORY:
        return described
    return (*(["id"] if mean >= enough else []), "history", *described)
