"""Weights of the training positives from a column of the log."""

import numpy as np

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.run.loader import Loaded


def log_weights(
    config: Config, data: Loaded, copies: np.ndarray
) -> tuple[np.ndarray | None, dict[str, float]]:
    """Weights of the training positives, with the mean 1 over the rows of an epoch.

    A positive of item i with the value r in the column has the weight r / m, or with
    ``positives.reweight`` r / (w_i m), where w_i are its copies per epoch. The mean m
    makes the loss independent of the unit of the column. Positives from lists have
    weights without a column.

    Args:
      config: the run.
      data: its data, with the weights of the positives where the run has them.
      copies: [num_items] float64, copies w_i of a positive of each item per epoch.

    Returns:
      [n] float64, None without weights; and statistics of them.

    Raises:
      InputError: all weights are 0, or the data has none.

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4: the reward
      r_i of a click, 0 to 1 by the time that was watched.
    """
    name, train = config.positives.weight, data.split.train
    if name is None and not data.split.listed:
        return None, {}
    if train.weight is None:
        raise InputError(
            f"positives.weight={name} names a column of the log, and the log was read "
            "without it; read it by this configuration, or leave positives.weight out"
        )
    if not train.weight.any():
        raise InputError(
            f"positives.weight={name} is 0 for each of the {len(train):,} training "
            "positives, which leaves nothing to learn from; name another column, or "
            "leave positives.weight out"
        )
    epoch = copies[train.item]
    weight = train.weight.astype(np.float64)
    if config.positives.reweight:
        weight = weight / np.where(epoch > 0, epoch, 1)
    weight = weight / (float(epoch @ weight) / epoch.sum() or 1)
    return weight, _report(weight, epoch)


def _report(weight: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Return statistics of the weights.

    "effective samples" is the number of equally weighted rows of an epoch that are
    worth as much (Kish 1965).
    """
    return {
        "without weight": float((weight == 0).mean()),
        "largest weight": float(weight.max()),
        "effective samples": float((copies @ weight) ** 2 / (copies @ weight**2)),
    }
