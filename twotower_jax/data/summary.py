"""Counts of a data set, and the hash that identifies it."""

import hashlib
import math
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.arrays.mapped import release
from twotower_jax.data.concentration import gini
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage


def describe_log(log: FunnelLog) -> dict[str, Any]:
    """Counts of a log, as plain values.

    ``top 1% share`` is the share of the positives on the ceil(1 %) most clicked items
    of the catalogue, and ``gini`` is over the whole catalogue.
    """
    positive = log.stage == Stage.CLICKED
    counts = np.bincount(log.item[positive], minlength=log.num_items)
    top = np.sort(counts)[::-1][: math.ceil(0.01 * log.num_items)].sum()
    positives = int(positive.sum())
    return {
        "users": log.num_users,
        "items": log.num_items,
        "rows": len(log.user),
        "stages": {
            stage.name.lower(): int((log.stage == stage).sum()) for stage in Stage
        },
        "positives": positives,
        "top 1% share": float(top / positives) if positives else 0.0,
        "gini": gini(counts),
    }


def describe(log: FunnelLog, split: Split) -> dict[str, Any]:
    """Counts of a log and its split, as plain values."""
    return describe_log(log) | {
        "split": {
            name: len(getattr(split, name)) for name in ("train", "valid", "test")
        },
        "dropped": dict(log.dropped),
        "report": dict(split.report),
    }


def _add(digest: Any, name: str, array: np.ndarray | None) -> None:
    """Add a named array: its type, shape and little-endian bytes."""
    if array is None:
        digest.update(f"{name} none;".encode())
        return
    plain = np.ascontiguousarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    digest.update(f"{name} {plain.dtype.str} {plain.shape};".encode())
    digest.update(plain.data)
    release(array)


def _add_ids(digest: Any, name: str, ids: pl.Series) -> None:
    """Add ids as text with their lengths, so that different lists differ."""
    text = ids.cast(pl.String)
    lengths = text.str.len_bytes().cast(pl.Int64).to_numpy()
    _add(digest, f"{name} {ids.dtype}", lengths)
    for part in text.to_frame("id").iter_slices(100_000):
        digest.update("".join(part["id"].to_list()).encode())


def _add_pairs(digest: Any, name: str, pairs: Pairs) -> None:
    for column in ("user", "item", "time"):
        _add(digest, f"{name}.{column}", getattr(pairs, column))


def weights_fingerprint(split: Split) -> str | None:
    """Hash of the weights of the training positives; None without weights.

    It is not part of that of the data, so that runs with and without weights compare.
    """
    if split.train.weight is None:
        return None
    digest = hashlib.sha256()
    _add(digest, "weight", split.train.weight)
    return digest.hexdigest()[:12]


def lists_fingerprint(split: Split) -> str | None:
    """Hash of the training positives that are from lists; None where there are none."""
    if not split.listed:
        return None
    digest = hashlib.sha256()
    for column in ("user", "item", "weight"):
        _add(digest, column, getattr(split.train, column)[-split.listed :])
    return digest.hexdigest()[:12]


def data_fingerprint(log: FunnelLog, split: Split) -> str:
    """Hash of a log and its split, which identifies the data of a run.

    SHA-256 over every array, id and feature; equal on every machine that reads the
    same files with the same configuration. The counts of dropped rows do not enter.
    """
    digest = hashlib.sha256()
    for column in ("user", "item", "stage", "time", "request", "rank", "part"):
        _add(digest, column, getattr(log, column))
    for side in ("user", "item"):
        _add_ids(digest, f"{side}_ids", getattr(log, f"{side}_ids"))
        features = getattr(log, f"{side}_features")
        for name in sorted(features):
            feature = features[name]
            label = f"{side}_features.{name} {feature.kind} {feature.size}"
            _add(digest, label, feature.values)
    for name in ("train", "valid", "test"):
        _add_pairs(digest, name, getattr(split, name))
    if split.before is not None:
        _add_pairs(digest, "before", split.before)
    return digest.hexdigest()[:12]
