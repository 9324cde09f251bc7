"""Histories: the vector of a query's last items, pooled over the items.

An item is the sum of the vectors of its features, as in a tower without hidden layers.
The items of a history are pooled to one vector,

  mean       sum_p v_p / n
  recency    sum_p w_p v_p / sum_p w_p,  w_p = 2^(-p / half_life)
  attention  sum_p a_p v_p,              a = softmax_p(v_p . u)

over the n places p = 0 (the latest), 1, ... that hold an item, where u is learned and
starts at 0, hence as the mean. An empty history has the vector 0. With the pooling
``transformer`` a history is a sequence (`sequence.py`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.arrays.shards import take_known
from twotower_jax.model import embeddings as emb
from twotower_jax.model import sequence as seq
from twotower_jax.model.embeddings import FeatureSpec
from twotower_jax.model.sequence import Dropout, SequenceSpec, Tokens


class HistorySpec(NamedTuple):
    """The static shape of histories."""

    items: int  # size of the catalogue
    length: int  # items of a history that are read, the last ones
    pooling: str  # "mean", "recency", "attention" or "transformer"
    half_life: float  # places after which the weight of an item has halved (recency)
    features: tuple[FeatureSpec, ...]  # of an item: its id, and features of the data
    shared: bool  # whether items use the tables of the candidate tower
    sequence: SequenceSpec | None = None  # shape of the transformer

    @property
    def by_place(self) -> bool:
        """Return whether the pooling is attention or a transformer, not a mean."""
        return self.pooling in ("attention", "transformer")

    def table(self, feature: FeatureSpec) -> str:
        """Return the name of the table of a feature of items."""
        if self.shared:
            return f"candidate.{feature.name}"
        return "query.history" + ("" if feature.kind == "id" else f".{feature.name}")

    @property
    def tables(self) -> dict[str, int]:
        """The tables that are read, and their numbers of rows."""
        sized = (feature for feature in self.features if feature.size)
        return {self.table(feature): feature.size for feature in sized}


class HistoryInputs(NamedTuple):
    """Inputs of E histories beside their bags."""

    present: jax.Array  # [E, length] bool, or [tokens], whether a place holds an item
    # [E, n] float32 of the items' numbers, pooled; [places, n] with attention and
    # transformer; None without any
    numbers: jax.Array | None
    tokens: Tokens | None = None  # places of the tokens of a transformer
    dropout: Dropout | None = None  # of a training step of a transformer


def init_history(spec: HistorySpec, dim: int, key: jax.Array) -> dict:
    """Initial dense parameters of histories."""
    params, numeric = {}, sum(feature.numbers for feature in spec.features)
    if numeric:
        params["numeric"] = 0.05 * jax.random.normal(key, (numeric, dim))
    if spec.pooling == "attention":
        params["attention"] = jnp.zeros(dim)
    if spec.sequence is not None:
        key = jax.random.fold_in(key, 1)
        params["transformer"] = seq.init_sequence(spec.sequence, key)
    return params


def history_inputs(
    spec: HistorySpec, items: jax.Array, features: dict[str, jax.Array]
) -> tuple[dict[str, emb.Bag], HistoryInputs]:
    """Inputs of histories."""
    tokens = None
    if spec.sequence is not None:
        items = items[:, ::-1]  # a transformer reads the oldest first
        tokens = seq.whole_sequences((items >= 0) & (items < spec.items))
    bags, inputs = place_inputs(spec, items, features)
    return bags, inputs._replace(tokens=tokens)


def place_inputs(
    spec: HistorySpec, items: jax.Array, features: dict[str, jax.Array]
) -> tuple[dict[str, emb.Bag], HistoryInputs]:
    """Inputs of histories, or of tokens, in the order in which they are given."""
    present = (items >= 0) & (items < spec.items)
    known = jnp.where(present, items, spec.items)
    places = jnp.arange(spec.length, dtype=jnp.float32)
    weight = present.astype(jnp.float32)
    if spec.pooling == "recency":
        weight *= jnp.exp2(-places / spec.half_life)[None, :]
    bags, numbers = {}, []
    for feature in spec.features:
        if feature.kind == "vector":
            bag = _bag(spec, known, spec.items, weight)
            numbers.append(emb.gather_bags(features[feature.name], bag))
            continue
        if feature.kind == "numeric":
            values = take_known(features[feature.name], known, 0) * weight
            if not spec.by_place:
                values = values.sum(axis=1) / _total(weight)
            numbers.append(values.reshape(-1))
            continue
        codes = known
        if feature.kind != "id":
            codes = take_known(features[feature.name], known, -1)
        bags[spec.table(feature)] = _bag(spec, codes, feature.size, weight)
    return bags, HistoryInputs(present, emb.join_numbers(numbers))


def _bag(spec: HistorySpec, codes: jax.Array, size: int, weight: jax.Array) -> emb.Bag:
    """Return the bags of a feature with codes [E, length] or [E, length, width]."""
    codes = codes.reshape(*weight.shape, -1)
    there = (codes >= 0) & (codes < size)
    share = there / jnp.maximum(there.sum(axis=-1, keepdims=True), 1)
    ids, shares = jnp.where(there, codes, size), weight[..., None] * share
    total = jnp.ones(weight.size) if spec.by_place else _total(weight)
    shape = total.shape[0], -1
    return emb.Bag(ids.reshape(shape), shares.reshape(shape), total)


def _total(weight: jax.Array) -> jax.Array:
    """Return the sums [E] of weights [E, length], 1 for an empty history."""
    total = weight.sum(axis=1)
    return jnp.where(total > 0, total, 1)


def history_vectors(
    spec: HistorySpec, params: dict, values: dict[str, jax.Array], inputs: HistoryInputs
) -> jax.Array:
    """Vectors of histories, [E, dim] float32."""
    parts = [values[table] for table in spec.tables]
    parts += emb.number_vectors(spec.features, inputs.numbers, params.get("numeric"))
    vectors = functools.reduce(jnp.add, parts)
    present = inputs.present
    if spec.sequence is not None and inputs.tokens is not None:
        of_spec = spec.sequence, params["transformer"]
        of_batch = vectors, inputs.tokens, inputs.dropout
        return seq.sequence_vectors(*of_spec, *of_batch, stream=present.ndim == 1)
    if spec.pooling != "attention":
        return vectors
    vectors = vectors.reshape(*present.shape, -1)
    return attend(vectors, params["attention"], present)


def attend(vectors: jax.Array, query: jax.Array, present: jax.Array) -> jax.Array:
    """Attention of one query over the places of each row, [E, dim] float32."""
    scores = jnp.where(present, jnp.einsum("eld,d->el", vectors, query), -jnp.inf)
    top = jax.lax.stop_gradient(scores.max(axis=1, keepdims=True))
    # A masked score is replaced before exp, so that its gradient is 0 and not nan.
    shifted = jnp.where(present, scores, 0) - jnp.where(jnp.isfinite(top), top, 0)
    weight = jnp.where(present, jnp.exp(jnp.where(present, shifted, 0)), 0)
    return jnp.einsum("eld,el->ed", vectors, weight / _total(weight)[:, None])
