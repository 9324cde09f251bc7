"""The parts of a training problem that the section ``loss`` decides."""

import numpy as np

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.model.specs import Model
from twotower_jax.run.loader import Loaded, number, queries_of, query_history
from twotower_jax.run.plan import estimates_at_k
from twotower_jax.training.kth_scores import KthScores
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.types import SelfSupervisedNumbers


def kth_scores(config: Config, data: Loaded, schedule: Schedule) -> KthScores | None:
    """Return the estimate of each user's k-th best score, None where no loss reads it.

    Args:
      config: the run.
      data: its data.
      schedule: of its training.

    Raises:
      InputError: where the catalogue is smaller than k.
    """
    if not config.loss.weighs_rows:
        return None
    at_k, log, known = config.loss.at_k, data.log, data.split.known
    if at_k.k > log.num_items:
        raise InputError(
            f"loss.at_k.k={at_k.k} is larger than the catalogue, which has "
            f"{log.num_items} items; lower loss.at_k.k"
        )
    users = np.arange(log.num_users, dtype=np.int32)
    return KthScores(
        when=estimates_at_k(config, schedule),
        k=at_k.k,
        sampled=min(at_k.sampled, log.num_items),
        seed=config.seed,
        queries=queries_of(config, users, query_history(config, known, users, None)),
        positives=from_pairs(known.user, known.item, log.num_users),
    )


def view_num(config: Config, model: Model) -> int:
    """Return the number of items of a step of which two views are compared.

    Args:
      config: the run.
      model: its towers.

    Raises:
      InputError: where the candidate tower has one feature, which two views cannot
        share.
    """
    loss, features = config.loss.self_supervised, model.candidate.features
    if not loss.weight:
        return 0
    if len(features) == 1:
        raise InputError(
            f"loss.self_supervised.weight={loss.weight} divides the features of "
            f"an item into two views, but the item tower has one alone: "
            f"{features[0].name}; name more in towers.candidate (data.items_path has "
            "them), or set loss.self_supervised.weight=0"
        )
    return loss.num


def self_supervised_numbers(config: Config) -> SelfSupervisedNumbers | None:
    """Return the numbers of the loss between two views, None without it.

    Args:
      config: the run.
    """
    loss = config.loss.self_supervised
    if not loss.weight:
        return None
    return SelfSupervisedNumbers(number(loss.weight), number(loss.temperature))
