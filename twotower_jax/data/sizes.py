"""The sizes of a log: all that the cost of a training needs to know of its data."""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Feature, FunnelLog, Split

# Bytes of a row of a log in memory, and of a positive of a part: their columns.
LOG_ROW, PART_ROW = 29, 24


class Sizes(NamedTuple):
    """Sizes of a log and of its training part.

    Attributes:
      num_users: users U.
      num_items: items I of the catalogue.
      positives: n, training positives.
      seen: positives up to the end of training, those of histories and masks.
      rows: rows of the log, of every stage.
      user_features, item_features: kind, codes and width of each feature by name; of
        the values the shape behind the first axis alone is read.
      timed: whether the log has times.
      active: users with training positives.
      pool: rows of the largest request, a bound of a pool of hard negatives.
      counts: [I] training positives of each item; None where they are not known, which
        stands for equal counts.
    """

    num_users: int
    num_items: int
    positives: int
    seen: int
    rows: int
    user_features: dict[str, Feature]
    item_features: dict[str, Feature]
    timed: bool
    active: int
    pool: int
    counts: np.ndarray | None = None


def sizes_of(log: FunnelLog, parts: Split) -> Sizes:
    """Sizes of a log that was read."""
    train, pool = parts.train, 0
    if log.request is not None and len(log.request):
        pool = int(np.unique(log.request, return_counts=True)[1].max())
    return Sizes(
        num_users=log.num_users,
        num_items=log.num_items,
        positives=len(train),
        seen=len(parts.known),
        rows=len(log.user),
        user_features=log.user_features,
        item_features=log.item_features,
        timed=train.time is not None,
        active=len(np.unique(train.user)),
        pool=pool,
        counts=np.bincount(train.item, minlength=log.num_items),
    )


def given_sizes(users: int, items: int, positives: int) -> Sizes:
    """Sizes of a log that does not exist yet: ids and times, no features."""
    return Sizes(
        num_users=users,
        num_items=items,
        positives=positives,
        seen=positives,
        rows=positives,
        user_features={},
        item_features={},
        timed=True,
        active=min(users, positives),
        pool=0,
    )


def simulated_sizes(config: DataConfig) -> Sizes:
    """Expected sizes of the log of the embedded world, which is not simulated.

    Of r requests with e exposed items each, r e click_rate are positives, of which
    1 - valid_share - test_share are trained on. Every user counts.

    Examples:
      >>> from twotower_jax.data.config import DataConfig
      >>> sizes = simulated_sizes(DataConfig())
      >>> sizes.num_users, sizes.num_items, sizes.timed
      (5000, 20000, True)
    """
    world = config.simulator
    kept = 1.0
    if config.split in ("temporal", "ratio"):
        kept = 1 - config.test_share - config.valid_share * (not config.fit_valid)
    clicks = world.requests * world.exposed * world.click_rate
    positives = max(1, round(clicks * kept))
    axes, width = world.latent_dim, world.exposed + 4 * world.kept
    authors = -(-world.items // world.items_per_author)
    return Sizes(
        num_users=world.users,
        num_items=world.items,
        positives=positives,
        seen=positives,
        rows=world.requests * width,
        user_features=_user_features(axes),
        item_features=_item_features(axes, authors),
        timed=True,
        active=min(world.users, positives),
        pool=width,
    )


def _user_features(axes: int) -> dict[str, Feature]:
    """Return features of users as the simulator has them, without values."""
    return {
        "activity": Feature("numeric", np.empty(0, np.float32)),
        "segment": Feature("categorical", np.empty(0, np.int32), axes),
    }


def _item_features(axes: int, authors: int) -> dict[str, Feature]:
    """Return features of items as the simulator has them, without values."""
    return {
        "author": Feature("categorical", np.empty(0, np.int32), authors),
        "category": Feature("categorical", np.empty(0, np.int32), axes),
        "price": Feature("numeric", np.empty(0, np.float32)),
        "stars": Feature("numeric", np.empty(0, np.float32)),
        "tags": Feature("multi", np.empty((0, axes), np.int32), axes),
    }
