"""The protocol of sources of negatives: what they draw, and how often to expect it.

The expected count of a mixture of sources is the sum of theirs, and logQ subtracts its
log, so that the correction of any mixture is exact. Candidates say by their type who
has them: `Shared` ones are columns of all rows, `Slots` belong to a row, and `Stored`
ones are columns that come with their embeddings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

from twotower_jax.lazy import Lazy, jax, jnp

if TYPE_CHECKING:
    from twotower_jax import keys
else:
    keys = Lazy("twotower_jax.keys")

Memory = dict[str, Any]


class Keys(NamedTuple):
    """The random keys of a step: functions of seed, stream and step, never carried."""

    seed: jax.Array | int  # seed of the run
    step: jax.Array | int = 0  # optimizer step

    def __call__(self, name: str) -> jax.Array:
        """Key of a named stream."""
        return keys.stream(self.seed, name, self.step)


class Batch(NamedTuple):
    """The rows of a step: positives, and what sources may read of them."""

    rows: jax.Array  # [B] int32 places of the positives among all training positives
    items: jax.Array  # [B] int32 clicked items
    queries: Any = ()  # queries of the B clicks, as the model has them
    step: Any = 0  # optimizer step, from 0
    # items [B, ...] -> their scores in their rows and whether each is masked, [B, ...];
    # () where no source asks for it
    score: Any = ()

    @property
    def size(self) -> int:
        """Number of rows B."""
        return self.items.shape[0]

    def scores(self, items: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Scores [B, ...] of items [B, ...] in their rows, and which are masked."""
        if self.score == ():
            raise ValueError(
                "the source scores candidates by the model, but Batch.score=(); set it "
                "to a function from items to their scores and masks"
            )
        return self.score(items)


class RowPools(NamedTuple):
    """Items of each row with a number for each; L is 0 where rows have none."""

    item: jax.Array  # [B, L] int32 items; num_items is padding
    log_prob: jax.Array  # [B, L] float32 log probability of a draw; -inf on padding
    stage: Any = ()  # [B, L] int8 stages that rejected the items; () without a log

    @property
    def size(self) -> int:
        """Number of entries L."""
        return self.item.shape[1]


def no_pools(rows: int) -> RowPools:
    """Pools of rows that have none."""
    return RowPools(jnp.zeros((rows, 0), jnp.int32), jnp.zeros((rows, 0)))


class Shared(NamedTuple):
    """Candidates that all rows share: columns."""

    items: jax.Array  # [C] int32; num_items is a draw that does not count


class Slots(NamedTuple):
    """Candidates of each row."""

    items: jax.Array  # [B, K] int32; num_items is a slot that is switched off
    is_hard: jax.Array  # [B, K] bool, whether the slot was drawn from the row's pool
    pool: RowPools  # pools that the hard slots were drawn from

    def stages(self) -> jax.Array:
        """Stages of the log that rejected the items, -1 of easy slots, [B, K]."""
        same = self.items[:, :, None] == self.pool.item[:, None, :]
        stage = jnp.where(same, self.pool.stage[:, None, :], -1).max(axis=2)
        return jnp.where(self.is_hard, stage, -1)


class Stored(NamedTuple):
    """Columns of earlier batches, with the embeddings that they had."""

    items: jax.Array  # [M] int32; num_items where empty
    embedding: jax.Array  # [M, D] float32, constants
    on: jax.Array  # [M] bool, whether an entry is in use
    log_count: jax.Array  # [M] float32 log of its expected count by this source


Candidates = Shared | Slots | Stored


class ByItem(NamedTuple):
    """Independent draws from one law: an item is expected draws times e^log_q."""

    law: Hashable  # draws of one law are added before the log is taken
    log_q: Callable[[jax.Array], jax.Array]  # items [...] -> log probability of a draw
    draws: Any  # expected draws of a row, a number or [G] by group of rows
    group: tuple[jax.Array, ...] = ()  # ([B] int32 group,); () where all are one

    def log_count(self, items: jax.Array) -> jax.Array:
        """Log of the expected counts of items [1 or G, K] by group, [1 or G, K]."""
        draws = jnp.asarray(self.draws, jnp.float32)
        return self.log_q(items) + jnp.log(draws[:, None] if draws.ndim else draws)

    def by_row(self) -> ByItem:
        """The same draws with every row as a group of its own, where rows differ."""
        if not self.group:
            return self
        draws = jnp.asarray(self.draws, jnp.float32)[self.group[0]]
        every = jnp.arange(draws.shape[0], dtype=jnp.int32)
        return self._replace(draws=draws, group=(every,))


class Listed(NamedTuple):
    """Counts of some items of each row; all others are expected 0 times."""

    item: jax.Array  # [B, L] int32, of which equal ones have one count; num_items pads
    log_count: jax.Array  # [B, L] float32, -inf on padding


class Dense(NamedTuple):
    """Counts that are computed for any items of any rows."""

    log_count: Callable[[jax.Array], jax.Array]  # items [1 or B, K] -> [1 or B, K]


Count = ByItem | Listed | Dense


class Source:
    """Base of all sources of negatives.

    A subclass defines `draw`, and either `log_count` or, where its counts have a form
    that saves work, `counts`. Both state the expected number of draws of an item in a
    row; items are masked later and in one place. A source with a memory defines `init`
    and `update` too. The memories of all sources are one dictionary::

      memory = source.init()
      drawn = source.draw(memory, key, batch)
      log_n = source.log_count(memory, batch, drawn, items)
      memory = source.update(memory, batch, drawn, embeddings)
    """

    def init(self) -> Memory:
        """Memories before the first step; empty for most sources."""
        return {}

    def draw(self, memory: Memory, key: Keys, batch: Batch) -> Candidates:
        """Candidates of a batch: `Shared` [C], `Slots` [B, K] or `Stored` [M].

        ``key`` maps the name of a stream to a key of this step.
        """
        raise NotImplementedError

    def log_count(
        self, memory: Memory, batch: Batch, drawn: Any, items: jax.Array
    ) -> jax.Array:
        """Log [1 or B, K] float32 of the expected number of draws of items in rows.

        The items [1 or B, K] are of the catalogue, and ``drawn`` is what `draw`
        returned; -inf for an item that is never drawn.
        """
        return log_sum_of(self.counts(memory, batch, drawn), items)

    def counts(self, memory: Memory, batch: Batch, drawn: Any) -> list[Count]:
        """Expected counts in the forms `ByItem`, `Listed` or `Dense`, which add up."""
        if type(self).log_count is Source.log_count:
            name = type(self).__name__
            raise NotImplementedError(
                f"{name} states no expected counts; define {name}.log_count"
            )
        return [Dense(functools.partial(self.log_count, memory, batch, drawn))]

    def update(
        self, memory: Memory, batch: Batch, drawn: Any, embeddings: jax.Array
    ) -> Memory:
        """Memories after a step, from embeddings [B, D] of the rows' items."""
        return memory


def add_by_law(counts: list[Count]) -> list[ByItem]:
    """The counts by item, one for each law: draws of one law are added."""
    laws: dict[Hashable, ByItem] = {}
    for count in counts:
        if not isinstance(count, ByItem):
            continue
        if before := laws.get(count.law):
            groups = *before.group, *count.group
            if len(groups) == 2 and groups[0] is not groups[1]:
                before, count = before.by_row(), count.by_row()
            draws = before.draws + count.draws
            count = before._replace(draws=draws, group=before.group or count.group)
        laws[count.law] = count
    return list(laws.values())


def log_sum_of(counts: list[Count], items: jax.Array) -> jax.Array:
    """Log [1 or B, K] of the sum of counts of items [1 or B, K]; -inf for none."""
    terms = [law.by_row().log_count(items) for law in add_by_law(counts)]
    for count in counts:
        if isinstance(count, Listed):
            terms.append(find_listed(count, items))
        elif isinstance(count, Dense):
            terms.append(count.log_count(items))
    return functools.reduce(jnp.logaddexp, terms or [jnp.full(items.shape, -jnp.inf)])


def find_listed(listed: Listed, items: jax.Array) -> jax.Array:
    """Counts [B, K] of items [1 or B, K] that are listed by row, -inf for others."""
    same = items[:, :, None] == listed.item[:, None, :]
    counts = jnp.where(same, listed.log_count[:, None, :], -jnp.inf)
    return counts.max(axis=2, initial=-jnp.inf)
