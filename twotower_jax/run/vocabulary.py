"""Ids and feature values as JSON: the place of a value in its list is its code."""

from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.config.parse_text import parse_json
from twotower_jax.data.log import Feature, FunnelLog
from twotower_jax.errors import InputError
from twotower_jax.model.specs import Model
from twotower_jax.run.records import read_mapping

VOCABULARY = "vocabulary.json"


def make_vocabulary(model: Model, log: FunnelLog) -> dict[str, Any]:
    """Ids of users and items, and the values of the features that the towers read.

    Args:
      model: both towers.
      log: with ids and features.

    Returns:
      {"users": ids, "items": ids, "user_features": {name: values}, "item_features":
      ...}, where values is a list by code, {"mean": m, "deviation": d} of a number, or
      {"width": numbers} of a vector.
    """
    return {
        "users": json_values(log.user_ids),
        "items": json_values(log.item_ids),
        "user_features": _features(model.query.features, log.user_features),
        "item_features": _features(model.candidate.features, log.item_features),
    }


def _features(read: tuple, features: dict[str, Feature]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for spec in read:
        if spec.kind in ("id", "history"):
            continue
        feature = features[spec.name]
        if feature.kind == "vector":
            values[spec.name] = {"width": spec.width}
        elif feature.vocabulary is None:
            scale = {"mean": feature.mean, "deviation": feature.deviation}
            values[spec.name] = scale
        else:
            values[spec.name] = json_values(feature.vocabulary)
    return values


def json_values(values: pl.Series) -> list[int] | list[str]:
    """Ids as JSON has them: whole numbers as numbers, all else as text.

    Args:
      values: [n] distinct, not null.

    Examples:
      >>> json_values(pl.Series([7, 9])), json_values(pl.Series([True, False]))
      ([7, 9], ['true', 'false'])
    """
    return (values if values.dtype.is_integer() else values.cast(pl.String)).to_list()


def find_vocabulary(folder: Path) -> Path:
    """Path of vocabulary.json of a run: ids and feature values by code.

    Args:
      folder: of the run.

    Raises:
      InputError: when the file is missing.
    """
    path = folder / VOCABULARY
    if not path.is_file():
        raise InputError(
            f"{path} is missing: an earlier version of twotower-jax trained the run; "
            "train it again under another name="
        )
    return path


def read_vocabulary(folder: Path) -> dict[str, Any]:
    """Content of vocabulary.json of a run, as of `make_vocabulary`.

    Args:
      folder: of the run.

    Raises:
      InputError: when the file is missing or broken.
    """
    return read_mapping(find_vocabulary(folder), parse_json)
