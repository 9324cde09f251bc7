"""Features of the towers, where the configuration leaves their choice to the data."""

from dataclasses import replace

from twotower_jax.config import Config
from twotower_jax.run.inputs import Loaded, trains

# With fewer training positives per user, an id is rarely met again and a history is
# mostly empty.
MIN_CLICKS_PER_USER = 2.0


def choose_features(config: Config, data: Loaded) -> Config:
    """The configuration with the features of both towers named.

    An empty ``towers.query`` becomes id, history and the features of users, without id
    and history where users have fewer than 2 training positives on average and features
    describe them. An empty ``towers.candidate`` becomes id and the features of items.
    The choice reads the training part and the features alone.

    Args:
      config: The run.
      data: Its data.

    Returns:
      The same configuration where both towers name their features.
    """
    towers = config.towers
    query = towers.query or query_features(data)
    candidate = towers.candidate or ("id", *sorted(data.log.item_features))
    if (query, candidate) == (towers.query, towers.candidate):
        return config
    return replace(config, towers=replace(towers, query=query, candidate=candidate))


def query_features(data: Loaded) -> tuple[str, ...]:
    """Names of the features that describe the queries of a log.

    Args:
      data: The log and its split.

    Returns:
      Names for ``towers.query``.
    """
    described = tuple(sorted(data.log.user_features))
    users = len(set(data.split.train.user.tolist()))
    if described and len(data.split.train) < MIN_CLICKS_PER_USER * users:
        return described
    return ("id", "history", *described)
