"""Vectors of items that the training did not have: by features, or by neighbours."""

from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.encode import codes_of, list_rows
from twotower_jax.data.parse import to_number
from twotower_jax.data.vectors import raw_vectors, to_vectors
from twotower_jax.errors import InputError
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export.towers import LoadedTower, TowerInput

# Shorter vectors are not divided by their length.
SHORTEST = 1e-6


def encode_items(
    frame: pl.DataFrame, tower: LoadedTower, values: dict[str, Any], codes: np.ndarray
) -> dict[str, np.ndarray]:
    """Inputs of the item tower from features of items as in the input of the log."""
    features = [one.name for one in tower.inputs if one.kind != "id"]
    for name in features:
        if name not in frame.columns:
            raise InputError(
                f"the frame has no column {name!r}; the item tower reads {features}, "
                "and null is a missing value"
            )
    for name in frame.columns:
        if name not in ("item", *features):
            raise InputError(
                f"the frame has a column {name!r}, which the item tower does not read; "
                f"its features are {features}; leave the column out"
            )
    inputs = {}
    for one in tower.inputs:
        if one.kind == "id":
            inputs[one.name] = np.where(codes < one.codes, codes, -1).astype(np.int32)
        else:
            inputs[one.name] = _feature(frame[one.name], one, values[one.name])
    return inputs


def _feature(column: pl.Series, one: TowerInput, values: Any) -> np.ndarray:
    """Return the values of one feature."""
    out = one.missing(len(column))
    if one.kind == "numeric":
        numbers = to_number(column, "the frame", one.name, required=False)
        if values["deviation"] > 0:
            scaled = (numbers - values["mean"]) / values["deviation"]
            out[:] = scaled.fill_null(0).to_numpy()
        return out
    if one.kind == "vector":
        return raw_vectors(to_vectors(column, "the frame", one.name, one.width))
    names = pl.Series(values).cast(pl.String)
    if one.kind == "categorical":
        out[:] = codes_of(column.cast(pl.String), names)
        return out
    rows = list_rows(column)
    known = rows.with_columns(
        pl.Series("code", codes_of(rows["value"].cast(pl.String), names))
    ).filter(pl.col("code") >= 0)
    places = known.select("row", "code", place=pl.int_range(pl.len()).over("row"))
    kept = places.filter(pl.col("place") < (one.width or 0))
    out[kept["row"].to_numpy(), kept["place"].to_numpy()] = kept["code"].to_numpy()
    return out


def neighbour_vectors(
    content: np.ndarray, known_content: np.ndarray, known_vectors: np.ndarray, k: int
) -> np.ndarray:
    """Mean vectors of the known items that are most similar by content.

    The vector of a new item i is (1/k) times the sum of v_j over the k known items j
    with the largest cosine of content with i; equal cosines by lower row. The known
    items should have many impressions. After S. Wang, slides 07_ColdStart_02, which
    average embeddings of ids; of a tower that reads the id alone, without hidden
    layers and normalisation, both are the same.

    Examples:
      >>> known = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
      >>> vectors = np.array([[2.0], [4.0], [8.0]])
      >>> neighbour_vectors(np.array([[5.0, 0.1]]), known, vectors, 2).tolist()
      [[3.0]]
    """
    new, known = np.asarray(content, np.float32), np.asarray(known_content, np.float32)
    if new.ndim != 2 or known.ndim != 2 or new.shape[1] != known.shape[1]:
        raise InputError(
            f"content has shape {list(new.shape)} and item_content "
            f"{list(known.shape)}; give rows of the same number of features"
        )
    if len(known) != len(known_vectors):
        raise InputError(
            f"item_content has {len(known)} rows for {len(known_vectors)} items; give "
            "one row per item"
        )
    if not 1 <= k <= len(known):
        raise InputError(f"k={k} is out of range; give 1 to {len(known)}")
    new, known = _directions("content", new), _directions("item_content", known)
    places = top_k(new, known, k)[1]
    return known_vectors[places].mean(axis=1, dtype=np.float64).astype(np.float32)


def _directions(name: str, content: np.ndarray) -> np.ndarray:
    """Return content divided by its length."""
    length = np.linalg.norm(content, axis=1, keepdims=True)
    bad = ~(np.isfinite(length) & (length > 0))
    if bad.any():
        raise InputError(
            f"{name}: row {int(np.argmax(bad)) + 1} is 0 or not finite, so it has no "
            "neighbours; leave the row out"
        )
    return content / length


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Vectors divided by their length; 0 stays 0."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, SHORTEST)).astype(np.float32)
