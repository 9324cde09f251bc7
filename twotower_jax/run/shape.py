"""The shape of a training, from a configuration and the sizes of its data."""

import math
from functools import partial

import numpy as np

from twotower_jax.config import Config
from twotower_jax.cost.shape import Extras, Shape
from twotower_jax.data.sizes import Sizes, feature_bytes
from twotower_jax.model.specs import make_model
from twotower_jax.run.plan import positive_weights
from twotower_jax.run.sequences import as_prepared
from twotower_jax.run.structure import make_structure, streaming_of
from twotower_jax.run.tower_features import features_of_sizes
from twotower_jax.sampling.merged_size import (
    distinct_number,
    merged_size,
    merged_size_of_arms,
)
from twotower_jax.training.hard_sources import HARD_SOURCES
from twotower_jax.training.types import Structure


def training_shape(config: Config, sizes: Sizes) -> Shape:
    """Return the shape of a training.

    Args:
      config: the run, of towers.
      sizes: of its data.

    Raises:
      InputError: when a tower names a feature that the data does not have.
    """
    config = features_of_sizes(config, sizes)
    training, towers = config.training, config.towers
    structure = make_structure(
        config,
        make_model(towers, sizes),
        sizes.num_items,
        partial(_merged, config, sizes),
    )
    of_items = towers.candidate
    if "history" in towers.query:
        of_items = (*of_items, *towers.history_features)
    features = (
        feature_bytes(sizes.user_features, towers.query),
        feature_bytes(sizes.item_features, tuple(dict.fromkeys(of_items))),
    )
    shape = Shape(
        structure=structure,
        batch=training.batch_size,
        devices=math.prod(training.mesh_shape),
        steps_per_dispatch=training.steps_per_dispatch,
        users=sizes.num_users,
        positives=sizes.positives,
        seen=sizes.seen,
        log_rows=sizes.rows,
        feature_bytes=features,
        touched=0,
        extras=_extras(config, sizes, structure),
        shards=training.mesh_shape[1],
    )
    return shape._replace(touched=round(_distinct(sizes, shape.tokens)))


def _extras(config: Config, sizes: Sizes, structure: Structure) -> Extras:
    """Return the arrays that not every run has."""
    negatives, hard = structure.negatives, config.negatives.hard
    mined = negatives.hard_num and HARD_SOURCES[negatives.hard_source].mined
    two_way = config.loss.two_way
    sampled = not config.loss.whole_catalogue
    return Extras(
        streaming=streaming_of(config, sizes.num_items),
        pool=min(hard.pool_size, sizes.pool or hard.pool_size),
        window=hard.mined.range_max - hard.mined.range_min if mined else 0,
        reweighted=config.positives.reweight,
        weighted=config.positives.weight is not None
        or config.positives.lists.path is not None,
        known=config.negatives.available and sizes.timed and sampled,
        two_way=bool(two_way.weight),
        of_users=bool(two_way.weight) and two_way.correct == "users",
        timed_order=config.training.order == "time",
        blocks=config.training.order == "blocks",
        fed=config.training.feed == "host",
        mapped=config.data.source == "prepared",
        mapped_pools=as_prepared(config),
    )


def _merged(config: Config, sizes: Sizes, batch: int, drawn: int) -> int:
    """Return the number of merged columns; equal counts stand for unknown ones."""
    if sizes.counts is None:
        each = np.full(1, sizes.positives / sizes.num_items)
        return merged_size(each, batch, drawn, sizes.num_items)
    weights = positive_weights(config, sizes.counts)
    return merged_size_of_arms(sizes.counts, weights, batch, drawn)


def _distinct(sizes: Sizes, draws: int) -> float:
    """Return the expected number of distinct items among draws of positives."""
    if sizes.counts is None:
        return distinct_number(np.ones(1), draws, sizes.num_items).mean
    return distinct_number(sizes.counts, draws).mean
