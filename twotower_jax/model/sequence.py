"""The causal transformer of a sequence tower, over the items of histories.

A token is an item of a sequence; its vector is x_0 = sqrt(d) v + p, the vector of the
item and a learned vector of its place from the oldest item on. Each of the layers is

  x <- x + drop(attention(norm(x))),  x <- x + drop(relu(norm(x) W_1 + b_1) W_2 + b_2).

The embedding of a query is norm(x) at its newest token. A token attends to itself and
to earlier tokens of its sequence. Tokens stand in blocks of W, the longest sequence:
where sequences stand end to end, a token attends within its block and the one before.

References:
  Kang & McAuley, Self-attentive sequential recommendation, ICDM 2018.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from twotower_jax.arrays.distinct import sequence_codes
from twotower_jax.keys import uniform_rows
from twotower_jax.model.modules import as_functions

NO_SEQUENCE = -1  # of tokens that are not read: context before the first, and padding
PLACE_SCALE = 0.02  # standard deviation of the first vectors of places


class Tokens(NamedTuple):
    """Places of N blocks of W tokens, of which E are the newest of a query."""

    place: jax.Array  # [N, W] int32 place in the sequence, 0 the oldest; W - 1 at most
    sequence: jax.Array  # [N, W] int32 code of the sequence; neighbours differ
    newest: jax.Array  # [E] int32 places of the queries' newest tokens among the N W
    present: jax.Array  # [E] bool, False for a query without an item


def whole_sequences(present: jax.Array) -> Tokens:
    """Places of the tokens of queries, each with a block of its own."""
    number, width = present.shape
    place = jnp.maximum(jnp.cumsum(present, axis=1, dtype=jnp.int32) - 1, 0)
    last = width - 1 - jnp.argmax(present[:, ::-1], axis=1).astype(jnp.int32)
    return Tokens(
        place=place,
        sequence=jnp.where(present, 0, NO_SEQUENCE),
        newest=jnp.arange(number, dtype=jnp.int32) * width + last,
        present=present.any(axis=1),
    )


def stream_tokens(
    begin: jax.Array, end: jax.Array, width: int
) -> tuple[jax.Array, Tokens]:
    """Tokens of rows that are the items of sequences in their order, end to end.

    Row i predicts the item at place end_i from the at most ``width`` ones from begin_i
    on, and adds the token of the item at end_i - 1. Earlier tokens of the first row's
    sequence stand in a block of their own. With the tokens are the places [T] int32 of
    their items among those of all histories, -1 for a token without one.
    """
    rows = end.shape[0]
    at = end - 1
    earlier = at[0] - width + jnp.arange(width, dtype=jnp.int32)
    read = earlier >= begin[0]
    padding = jnp.full(-rows % width, -1, jnp.int32)

    def blocks(context: jax.Array, of_rows: jax.Array) -> jax.Array:
        parts = [context, of_rows, padding]
        return jnp.concatenate(parts).astype(jnp.int32).reshape(-1, width)

    place = blocks(jnp.where(read, earlier - begin[0], 0), at - begin)
    tokens = Tokens(
        place=jnp.maximum(place, 0),
        sequence=blocks(jnp.where(read, 0, NO_SEQUENCE), sequence_codes(begin, end)),
        newest=width + jnp.arange(rows, dtype=jnp.int32),
        present=jnp.ones(rows, bool),
    )
    return blocks(jnp.where(read, earlier, -1), at).reshape(-1), tokens


# --- the transformer ------------------------------------------------------------------


class SequenceSpec(NamedTuple):
    """The static shape of a transformer."""

    dim: int  # size of the vectors
    length: int  # tokens of a sequence, at most
    layers: int  # number of layers
    heads: int  # number of attention heads; it divides dim


class Dropout(NamedTuple):
    """Dropout of a training step."""

    key: jax.Array  # typed key, used for nothing else
    share: jax.Array  # [] share of the numbers that are dropped
    first: jax.Array | int = 0  # number of the first block among those of the batch


def init_sequence(spec: SequenceSpec, key: jax.Array) -> dict:
    """Initial parameters."""
    return _transformer(spec).init(key)


def sequence_vectors(
    spec: SequenceSpec,
    params: dict,
    vectors: jax.Array,
    tokens: Tokens,
    dropout: Dropout | None,
    *,
    stream: bool,
) -> jax.Array:
    """Vectors of the sequences of queries, [E, dim] float32."""
    allowed = visible(tokens.sequence, stream=stream)
    x = vectors.reshape(*tokens.place.shape, spec.dim)
    alone = dropout is None and not stream
    newest = tokens.newest % spec.length if alone else None
    x = _transformer(spec).apply(params, x, tokens.place, allowed, dropout, newest)
    x = x.reshape(-1, spec.dim)
    if newest is None:
        x = x[tokens.newest]
    return jnp.where(tokens.present[:, None], x, 0)


def visible(sequence: jax.Array, *, stream: bool) -> jax.Array:
    """Mask of the attention: a token sees itself and earlier ones of its sequence."""
    width = sequence.shape[1]
    own = sequence[:, :, None] == sequence[:, None, :]
    own &= jnp.tri(width, dtype=bool)[None]
    if not stream:
        return own
    before = _before(sequence, NO_SEQUENCE)
    inside = (sequence != NO_SEQUENCE)[:, :, None]
    earlier = inside & (sequence[:, :, None] == before[:, None, :])
    return jnp.concatenate([earlier, own], axis=2)


def _before(blocks: jax.Array, fill: int) -> jax.Array:
    """Return the block before each of N blocks; the first one has none."""
    return jnp.concatenate([jnp.full_like(blocks[:1], fill), blocks[:-1]])


def drop(x: jax.Array, dropout: Dropout | None, place: int) -> jax.Array:
    """Values, some of which are dropped; the others are divided by their share."""
    if dropout is None:
        return x
    key = jax.random.fold_in(dropout.key, place)
    kept = uniform_rows(key, x.shape, dropout.first) >= dropout.share
    return jnp.where(kept, x / (1 - dropout.share), 0)


def _tokens_at(x: jax.Array, newest: jax.Array | None) -> jax.Array:
    """Return tokens [N, 1, ...] at the places [N] of x [N, W, ...]; None: all."""
    if newest is None:
        return x
    return x[jnp.arange(x.shape[0]), newest][:, None]


class _Layer(nnx.Module):
    """One layer: attention and a feed-forward part, each behind its norm."""

    def __init__(self, spec: SequenceSpec, *, rngs: nnx.Rngs):
        dim, self.heads = spec.dim, spec.heads
        linear = functools.partial(nnx.Linear, rngs=rngs)
        self.before_attention = nnx.LayerNorm(dim, rngs=rngs)
        self.query, self.key, self.value, self.out = (linear(dim, dim) for _ in "qkvo")
        self.before_forward = nnx.LayerNorm(dim, rngs=rngs)
        self.first, self.second = linear(dim, dim), linear(dim, dim)

    def __call__(
        self,
        x: jax.Array,
        allowed: jax.Array,
        dropout: Dropout | None,
        place: int,
        newest: jax.Array | None = None,
    ) -> jax.Array:
        """Return new tokens [N, W, dim]; given the newest ones [N], theirs alone."""
        mixed = self.attend(x, allowed, dropout, place, newest)
        x = _tokens_at(x, newest) + drop(mixed, dropout, place + 1)
        hidden = nnx.relu(self.first(self.before_forward(x)))
        hidden = drop(hidden, dropout, place + 2)
        return x + drop(self.second(hidden), dropout, place + 3)

    def attend(
        self,
        x: jax.Array,
        allowed: jax.Array,
        dropout: Dropout | None,
        place: int,
        newest: jax.Array | None,
    ) -> jax.Array:
        """Return the attention of tokens x [N, W, dim] to those they may see."""
        x = self.before_attention(x)
        asking, allowed = _tokens_at(x, newest), _tokens_at(allowed, newest)
        heads = self.heads, x.shape[2] // self.heads
        query, key, value = (
            part.reshape(*part.shape[:2], *heads)
            for part in (self.query(asking), self.key(x), self.value(x))
        )
        if allowed.shape[2] > x.shape[1]:
            key, value = (
                jnp.concatenate([_before(part, 0), part], axis=1)
                for part in (key, value)
            )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) * heads[1] ** -0.5
        # Every token sees itself, so that no row is empty.
        scores = jnp.where(allowed[:, None], scores, jnp.finfo(scores.dtype).min)
        weight = drop(jax.nn.softmax(scores), dropout, place)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weight, value)
        return self.out(mixed.reshape(asking.shape))


class _Transformer(nnx.Module):
    """Places, layers and a last norm."""

    def __init__(self, spec: SequenceSpec, *, rngs: nnx.Rngs):
        initializer = nnx.initializers.normal(PLACE_SCALE)
        self.place = nnx.Embed(
            spec.length, spec.dim, embedding_init=initializer, rngs=rngs
        )
        self.layers = nnx.List(_Layer(spec, rngs=rngs) for _ in range(spec.layers))
        self.last = nnx.LayerNorm(spec.dim, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        allowed: jax.Array,
        dropout: Dropout | None,
        newest: jax.Array | None,
    ) -> jax.Array:
        """Return all tokens [N, W, dim], or the newest of each block [N, 1, dim]."""
        x = x * x.shape[2] ** 0.5 + self.place(place)
        x = drop(x, dropout, 0)
        # Only the newest token of the last layer is read where a block is a query.
        for number, layer in enumerate(self.layers):
            at = newest if number == len(self.layers) - 1 else None
            x = layer(x, allowed, dropout, 1 + 4 * number, at)
        return self.last(x)


@functools.lru_cache
def _transformer(spec: SequenceSpec):
    return as_functions(lambda rngs: _Transformer(spec, rngs=rngs))
