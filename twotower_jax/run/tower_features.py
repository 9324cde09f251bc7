"""Features of the towers, where the configuration leaves their choice to the data."""

from dataclasses import replace

import numpy as np

from twotower_jax.config import Config
from twotower_jax.run.inputs import Loaded

# With fewer training positives per user, a history is mostly empty.
MIN_HISTORY = 2.0
# With fewer, an id is seen too rarely to add to the history, and is learned by heart.
MIN_ID = 10.0


def choose_features(config: Config, data: Loaded) -> Config:
    """The configuration with the features of both towers named.

    An empty ``towers.query`` becomes `query_features`, with a transformer the history
    too, and an empty ``towers.candidate`` id and the features of items. The choice
    reads the training part and the features alone.

    Args:
      config: The run.
      data: Its data.

    Returns:
      The same configuration where both towers name their features.
    """
    towers = config.towers
    query = towers.query or query_features(data, towers.history_length)
    if towers.history_pooling == "transformer" and "history" not in query:
        query = (*query, "history")
    candidate = towers.candidate or ("id", *sorted(data.log.item_features))
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

    Args:
      data: The log and its split.
      history_length: Positives that a history holds.

    Returns:
      Names for ``towers.query``.
    """
    described = tuple(sorted(data.log.user_features))
    train = data.split.train
    mean = len(train) / max(1, len(np.unique(train.user)))
    if described and mean < MIN_HISTORY:
        return described
    enough = MIN_ID if train.time is not None else history_length
    return (*(["id"] if mean >= enough else []), "history", *described)
