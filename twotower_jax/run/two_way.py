"""Numbers of the softmax over the users of a batch."""

import numpy as np

from twotower_jax.config import Config
from twotower_jax.run.loader import Loaded, as_arrays, number
from twotower_jax.sampling.mixture import log_frequency
from twotower_jax.training.types import TwoWayNumbers


def two_way_numbers(
    config: Config, data: Loaded, copies: np.ndarray
) -> TwoWayNumbers | None:
    """Return the numbers of the softmax over users, None without it.

    Args:
      config: the run.
      data: its data.
      copies: [num_items] float64, copies of a positive of each item per epoch; a user's
        share is that of the rows of an epoch.
    """
    two_way, train = config.loss.two_way, data.split.train
    if not two_way.weight:
        return None
    log_q = None
    if two_way.correct == "users":
        rows = np.bincount(train.user, copies[train.item], data.log.num_users)
        log_q = as_arrays(config, log_frequency(rows))
    return TwoWayNumbers(number(two_way.weight), log_q)
