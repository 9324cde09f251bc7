"""Masks: what is no negative of a row, such as its user's training positives.

A batch looks up the positives of its own users alone, so that the cost depends on the
batch and not on users or catalogue.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.arrays import shards
from twotower_jax.arrays.mapped import ranges_of_users, rows_of_users
from twotower_jax.negatives.source import Batch

# Positives of the rows that are looked up at a time. A CPU loses less by a small chunk
# than by the padding of a large one.
CHUNK, CPU_CHUNK = 2**15, 2**13


class UserPositives(NamedTuple):
    """Sorted training positives of every user, which a mesh spreads like tables."""

    begin: Any  # [users + 1] int32, a user's positives are item[begin[u]:begin[u + 1]]
    item: Any  # [pairs] int32, ascending for each user, distinct


def user_positives(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int
) -> UserPositives:
    """Distinct training positives, of pairs [n] of user and item, sorted by user.

    Examples:
      >>> lists = user_positives(np.array([1, 0, 1]), np.array([4, 2, 3]), 2, 9)
      >>> lists.begin.tolist(), lists.item.tolist()
      ([0, 1, 3], [2, 3, 4])
    """
    begin, items = np.zeros(num_users + 1, np.int32), [np.zeros(0, np.int32)]
    for first, end in ranges_of_users([user], num_users):
        rows = rows_of_users(user, first, end)
        pairs = np.unique(
            (user[rows] - first).astype(np.int64) * num_items + item[rows]
        )
        number = np.bincount(pairs // num_items, minlength=end - first)
        begin[first + 1 : end + 1] = begin[first] + np.cumsum(number)
        items.append((pairs % num_items).astype(np.int32))
    return UserPositives(begin, np.concatenate(items))


class _Lists(NamedTuple):
    """Positives of the users of rows, as one list: row b's part is before ends[b]."""

    begin: jax.Array  # [B] int32, a row's positives are item[begin:end]
    end: jax.Array
    item: jax.Array  # [pairs] int32 positives of all users, or a device's block of them

    @property
    def ends(self) -> jax.Array:
        return jnp.cumsum(self.end - self.begin)

    @property
    def size(self) -> int:
        """Return the positives in a chunk, divided by the table's devices."""
        on_cpu = jax.default_backend() == "cpu"
        chunk = min(CHUNK, CPU_CHUNK) if on_cpu else CHUNK
        return max(1, chunk // shards.table_shards())

    @property
    def chunks(self) -> jax.Array:
        """Return the chunks of the longest such list of a device, [] int32."""
        return shards.most_of_devices(-(-self.ends[-1] // self.size))

    def chunk(self, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return rows and items of a chunk of the list; row B behind its end."""
        flat = number * self.size + jnp.arange(self.size, dtype=jnp.int32)
        row = jnp.searchsorted(self.ends, flat, side="right").astype(jnp.int32)
        # Behind the end the last row is read.
        at = jnp.minimum(row, self.begin.shape[0] - 1)
        return row, shards.take_own(self.item, flat + (self.end - self.ends)[at])


def _on_rows(
    function: Callable, positives: UserPositives, users: jax.Array, items: jax.Array
) -> jax.Array:
    """Return the values of all rows, of which a device computes its own."""
    first, item = jax.tree.map(jnp.asarray, positives)
    lists = _Lists(shards.take(first, users), shards.take(first, users + 1), item)
    if jax.sharding.get_abstract_mesh().size <= 1:
        return function(lists, items)

    parts: tuple[Any, ...] = (shards.BY_BATCH, shards.BY_BATCH, shards.BY_ROWS)
    of_items = shards.BY_BATCH if items.ndim > 1 else shards.WHOLE
    specs = (_Lists(*parts), of_items), shards.BY_BATCH
    return shards.on_shards(function, *specs)(lists, items)


def seen_places(
    positives: UserPositives, users: jax.Array, distinct: jax.Array
) -> jax.Array:
    """Whether each item is a training positive of the row's user, [B, U] bool."""
    return _on_rows(_seen_of_rows, positives, users, distinct)


def _seen_of_rows(lists: _Lists, distinct: jax.Array) -> jax.Array:
    rows, width = lists.begin.shape[0], distinct.shape[0]

    def look_up(number: jax.Array, seen: jax.Array) -> jax.Array:
        row, item = lists.chunk(number)
        place = jnp.minimum(jnp.searchsorted(distinct, item), width - 1)
        hit = (row < rows) & (distinct[place] == item)
        return seen.at[jnp.where(hit, row, rows), place].set(True, mode="drop")

    return jax.lax.fori_loop(0, lists.chunks, look_up, jnp.zeros((rows, width), bool))


def contains(positives: UserPositives, users: jax.Array, items: jax.Array) -> jax.Array:
    """Whether items of rows are training positives of the rows' users, [B, K] bool."""
    return _on_rows(_contained_in_rows, positives, users, items)


def _contained_in_rows(lists: _Lists, items: jax.Array) -> jax.Array:
    if shards.table_shards() == 1:
        return _among(lists.item, lists.begin, lists.end, items)

    def look_up(number: jax.Array, contained: jax.Array) -> jax.Array:
        end = lists.ends - number * lists.size
        begin = end - (lists.end - lists.begin)
        begin, end = (jnp.clip(each, 0, lists.size) for each in (begin, end))
        return contained | _among(lists.chunk(number)[1], begin, end, items)

    return jax.lax.fori_loop(0, lists.chunks, look_up, jnp.zeros(items.shape, bool))


def _among(
    values: jax.Array, begin: jax.Array, end: jax.Array, items: jax.Array
) -> jax.Array:
    """Return whether items [B, K] are among values[begin:end], ascending, of a row."""
    low = jnp.broadcast_to(begin[:, None], items.shape)
    high = last = jnp.broadcast_to(end[:, None], items.shape)

    def halve(_: jax.Array, bounds: tuple) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        right = values[middle] < items
        unfinished = low < high
        return (
            jnp.where(unfinished & right, middle + 1, low),
            jnp.where(unfinished & ~right, middle, high),
        )

    halvings = 32 - jax.lax.clz(jnp.max(end - begin))
    low, _ = jax.lax.fori_loop(0, halvings, halve, (low, high))
    return (low < last) & (values[low] == items)


def unknown_items(known: Any, batch: Batch, items: jax.Array) -> jax.Array:
    """Whether each item is not known yet at the moment of the row, [B, K] bool."""
    number = shards.take_rows(known.number, batch.rows)
    return shards.take(known.place, items) >= number[:, None]


@dataclass(frozen=True)
class RowMasks:
    """All that is masked in a row: the one place of masks."""

    num_items: int  # size of the catalogue; ids from here on do not count
    same_item: bool = True  # whether a row's own item is masked, not its positive alone
    positives: tuple[UserPositives, ...] = ()  # (those of users,) if they are masked
    known: tuple[Any, ...] = ()  # (items known at each positive,) if others are masked

    def clicked(self, users: jax.Array, items: jax.Array) -> tuple[jax.Array, ...]:
        """([B, K] bool, items of rows that are masked as their users' positives,)."""
        return tuple(contains(lists, users, items) for lists in self.positives)

    def of_items(self, batch: Batch, items: jax.Array) -> jax.Array:
        """Whether each item of a row is masked in it, [B, ...] for items [B, ...]."""
        flat = items.reshape(items.shape[0], -1)
        masked = flat >= self.num_items
        if self.same_item:
            masked |= flat == batch.items[:, None]
        for lists in self.positives:
            masked |= contains(lists, batch.queries.user, flat)
        for known in self.known:
            masked |= unknown_items(known, batch, flat)
        return masked.reshape(items.shape)

    @property
    def by_row(self) -> bool:
        """Whether masks differ between rows beyond each row's own item."""
        return bool(self.positives or self.known)

    def of_columns(self, batch: Batch, items: jax.Array) -> tuple[jax.Array, ...]:
        """Masked items of each row among ascending items [U], without the row's own."""
        users: Any = batch.queries.user if self.positives else ()
        parts = [
            *(seen_places(lists, users, items) for lists in self.positives),
            *(unknown_items(moments, batch, items[None, :]) for moments in self.known),
        ]
        return (functools.reduce(jnp.logical_or, parts),) if parts else ()


class ScoreFilter(NamedTuple):
    """The filter of negatives that score nearly as high as the positive.

    Likely false negatives are left out so; with s_p < 0 and gamma < 1 some are that
    score below p.

    References:
      Qu et al., RocketQA, NAACL 2021 (denoised hard negatives); Moreira et al.,
      NV-Retriever, 2024 (TopK-PercPos: below a share of the positive's score).
    """

    gamma: Any  # [] factor of the positive's score, from which negatives are left out
    warmup: Any  # [] steps before they are

    def limit(self, step: jax.Array, positive: jax.Array) -> jax.Array:
        """Score, before any correction, from which on a negative is left out."""
        limit = self.gamma * jax.lax.stop_gradient(positive)
        return jnp.where(step >= self.warmup, limit, jnp.inf)

    def drops(
        self, step: jax.Array, positive: jax.Array, scores: jax.Array
    ) -> jax.Array:
        """Whether candidates of rows are left out, [B, ...] for scores [B, ...]."""
        limit = self.limit(step, positive)
        return scores >= limit.reshape(-1, *[1] * (scores.ndim - 1))
