"""The mixture of all sources of negatives of a batch: draws, masks and corrections.

The logit of a negative is its score over the temperature minus the log of its expected
count in the row (logQ), the sum of the counts of all sources: which source drew a
negative is unknown to its row. A masked one stands for no draw.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.arrays.distinct import Distinct, find_distinct
from twotower_jax.losses import logits
from twotower_jax.negatives import columns as cols
from twotower_jax.negatives import source as src
from twotower_jax.negatives.frequency import Counted, PositiveLaw
from twotower_jax.negatives.hard import RowSlots
from twotower_jax.negatives.in_batch import Catalogue, InBatch
from twotower_jax.negatives.masks import RowMasks
from twotower_jax.registry import check_choice

NO_MEMORY = Counted(())  # type: ignore[arg-type]
NO_KEY = -2  # key of no row: of stored entries where rows mask no item
# Logits that log q corrects: of the negatives and the positive, of one, or of none.
CORRECTIONS = ("all", "negatives", "none")


class Draws(NamedTuple):
    """The negatives of a batch of B rows."""

    columns: cols.Columns  # candidates that all rows share
    slots: src.Slots  # candidates of each row; K is 0 where rows have none
    stored: tuple[src.Stored, ...]  # columns with embeddings of earlier steps
    drawn: tuple[src.Candidates, ...]  # what each source drew


class Terms(NamedTuple):
    """Masks and corrections of the scores of a batch."""

    columns: logits.ColumnTerms
    rows: logits.RowTerms  # with those of their slots
    positive: jax.Array  # [B] term of the positive


@dataclass(frozen=True)
class Mixture:
    """Sources of negatives that are drawn together.

    Examples:
      >>> from twotower_jax.negatives import Batch, InBatch, Keys, uniform_negatives
      >>> law = Counted(jnp.log(jnp.array([0.5, 0.3, 0.2])))
      >>> sources = InBatch(law, 3), uniform_negatives(2, 3)
      >>> mixture = Mixture(sources, 3, RowMasks(3))
      >>> batch = Batch(jnp.arange(2), jnp.array([0, 1]))
      >>> draws = mixture.draw({}, Keys(0), batch)
      >>> draws.columns.encode_ids.shape  # two items of the batch, two draws
      (4,)
      >>> jnp.exp(mixture.log_count({}, batch, draws, jnp.array([[0]]))).round(2)
      Array([[1.17]], dtype=float32)
    """

    sources: tuple[src.Source, ...]
    num_items: int  # size of the catalogue
    masks: RowMasks  # what is masked in a row
    correct: str = "all"  # of `CORRECTIONS`
    positives: PositiveLaw = NO_MEMORY  # law of the positives, which may have a memory
    strength: tuple[Any, ...] = ()  # (factor of log q,) where it is not 1
    merged: bool = False  # whether equal items are one column, which changes no loss

    def __post_init__(self) -> None:
        check_choice("Mixture.correct", self.correct, CORRECTIONS)
        if len(self._of_batch) > 1:
            raise ValueError(
                f"{len(self._of_batch)} sources are InBatch, but the items of a batch "
                "are columns once; give one of them"
            )

    @property
    def _of_batch(self) -> list[InBatch]:
        return [source for source in self.sources if isinstance(source, InBatch)]

    @property
    def _whole(self) -> bool:
        return any(isinstance(source, Catalogue) for source in self.sources)

    @property
    def columns_ascend(self) -> bool:
        """Whether the items of the columns are distinct and sorted, padding last."""
        return self.merged or self._whole

    def init(self) -> src.Memory:
        """Memories of all sources before the first step."""
        memory = self.positives.init()
        for source in self.sources:
            memory = memory | source.init()
        return memory

    def observe(self, memory: src.Memory, batch: src.Batch) -> src.Memory:
        """Memories with the items of the batch counted, before its draws."""
        return self.positives.observe(memory, batch)

    def draw(self, memory: src.Memory, key: src.Keys, batch: src.Batch) -> Draws:
        """The negatives of a batch, given the memories of all sources."""
        drawn = (source.draw(memory, key, batch) for source in self.sources)
        return self.collect(batch, tuple(drawn))

    def collect(self, batch: src.Batch, drawn: tuple[src.Candidates, ...]) -> Draws:
        """The negatives of a batch from what each source drew."""
        slots = [each for each in drawn if isinstance(each, src.Slots)]
        if not slots:
            empty = jnp.zeros((batch.size, 0), jnp.int32)
            slots = [src.Slots(empty, empty > 0, src.no_pools(batch.size))]
        items = jnp.concatenate([each.items for each in slots], axis=1)
        is_hard = jnp.concatenate([each.is_hard for each in slots], axis=1)
        stored = tuple(each for each in drawn if isinstance(each, src.Stored))
        of_rows = src.Slots(items, is_hard, slots[0].pool)
        return Draws(self._columns(batch, drawn), of_rows, stored, drawn)

    def _columns(
        self, batch: src.Batch, drawn: tuple[src.Candidates, ...]
    ) -> cols.Columns:
        """Return the columns: the items of the batch and the shared draws."""
        if self._whole:
            return cols.catalogue_columns(batch.items, self.num_items)
        shared = [
            candidates.items
            for source, candidates in zip(self.sources, drawn, strict=True)
            if isinstance(candidates, src.Shared) and not isinstance(source, InBatch)
        ]
        items = jnp.concatenate([jnp.zeros(0, jnp.int32), *shared])
        rest = {"same_item": self.masks.same_item, "num_items": self.num_items}
        if self.merged:
            return cols.merged_columns(batch.items, items, **rest)
        in_batch = bool(self._of_batch)
        return cols.separate_columns(batch.items, items, in_batch=in_batch, **rest)

    def update(
        self, memory: src.Memory, batch: src.Batch, draws: Draws, embeddings: jax.Array
    ) -> src.Memory:
        """Memories of all sources after a step, as `Source.update`."""
        for source, drawn in zip(self.sources, draws.drawn, strict=True):
            memory = source.update(memory, batch, drawn, embeddings)
        return memory

    def counts(
        self,
        memory: src.Memory,
        batch: src.Batch,
        draws: Draws,
        without: src.Source | None = None,
    ) -> list[src.Count]:
        """Expected counts of all sources, or of all but one, which add up.

        Lists of rows come last. There are none where no negative is corrected.
        """
        if self.correct == "none":
            return []
        counts: list[src.Count] = []
        for source, drawn in zip(self.sources, draws.drawn, strict=True):
            if source is not without:
                counts += source.counts(memory, batch, drawn)
        return sorted(counts, key=lambda count: isinstance(count, src.Listed))

    def log_count(
        self, memory: src.Memory, batch: src.Batch, draws: Draws, items: jax.Array
    ) -> jax.Array:
        """Log [1 or B, K] of the expected number of draws of items, of all sources.

        It is 0 where no negative is corrected; padding has the count of any item.
        """
        return self._in_rows(self.counts(memory, batch, draws), items)

    def _in_rows(self, counts: list[src.Count], items: jax.Array) -> jax.Array:
        """Return log counts of items [1 or B, K] in their rows."""
        if self.correct == "none":
            return jnp.zeros(items.shape, jnp.float32)
        return src.log_sum_of(counts, jnp.minimum(items, self.num_items - 1))

    def terms(
        self, memory: src.Memory, batch: src.Batch, draws: Draws, weight: jax.Array
    ) -> Terms:
        """Masks and corrections of scores, with weights [B] of rows in the loss."""
        drawn, counts = draws.columns, self.counts(memory, batch, draws)
        items = drawn.encode_ids[: drawn.log_mult.shape[0]]
        by_item, group = self._by_group(counts, batch, items)
        columns = logits.ColumnTerms(
            drawn.log_mult, by_item, drawn.key, (), self.strength
        )
        for source, entries in zip(self.sources, draws.drawn, strict=True):
            if isinstance(entries, src.Stored):
                items = jnp.concatenate([items, entries.items])
                others = self.counts(memory, batch, draws, without=source)
                columns = self._append(columns, others, batch, entries)
        own = self._in_rows(counts, batch.items[:, None])
        own = jnp.broadcast_to(own, (batch.size, 1))[:, 0]
        rows = logits.RowTerms(
            weight=weight,
            key=drawn.row_key,
            own_log_mult=drawn.own_log_mult,
            own_log_count=own,
            slots=self._slot_terms(counts, batch, draws.slots),
            group=group,
        )
        listed = [count for count in counts if isinstance(count, src.Listed)]
        if items.shape[0] and (listed or self.masks.by_row):
            number = items.shape[0]
            if self.columns_ascend and not draws.stored:
                distinct = Distinct(items, jnp.arange(number, dtype=jnp.int32))
            else:
                # Padding behind num_items, the id of columns that hold no item.
                distinct = find_distinct(items, number, self.num_items + 1)
                columns = columns._replace(place=(distinct.place,))
            # Stored entries have counts of earlier steps.
            if listed and not draws.stored:
                every = jnp.arange(number, dtype=jnp.int32)
                first = jnp.full_like(every, number).at[distinct.place].min(every)
                columns = columns._replace(first=(first,))
            rows = rows._replace(
                seen=self.masks.of_columns(batch, distinct.ids),
                listed=tuple(self._listed_terms(count, distinct) for count in listed),
            )
        shift = jnp.zeros_like(own)
        if self.correct == "all":
            shift = -logits.tempered(own, self.strength)
        return Terms(columns, rows, shift)

    def bias(self, memory: src.Memory, batch: src.Batch, draws: Draws) -> jax.Array:
        """Log multiplicity less log expected count of all rows and columns, [B, C].

        It is added to the scores; -inf masks a pair. `terms` needs no such array.
        """
        terms = self.terms(memory, batch, draws, jnp.ones(batch.size))
        return logits.column_terms(terms.columns, terms.rows).bias

    def _by_group(
        self, counts: list[src.Count], batch: src.Batch, items: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Return log counts [G, C] of columns by group of rows, and the groups."""
        if self.correct == "none":
            return jnp.zeros((1, items.shape[0]), jnp.float32), ()
        items = jnp.minimum(items[None, :], self.num_items - 1)
        dense = [
            count.log_count(items) for count in counts if isinstance(count, src.Dense)
        ]
        laws = src.add_by_law(counts)
        groups = {id(law.group[0]): law.group for law in laws if law.group}
        if len(groups) > 1 or any(each.shape[0] > 1 for each in dense):
            groups = {0: (jnp.arange(batch.size, dtype=jnp.int32),)}
            laws = [law.by_row() for law in laws]
        parts = [law.log_count(items) for law in laws] + dense
        log_count = functools.reduce(
            jnp.logaddexp, parts or [jnp.full(items.shape, -jnp.inf)]
        )
        return log_count, next(iter(groups.values()), ())

    def _append(
        self,
        columns: logits.ColumnTerms,
        others: list[src.Count],
        batch: src.Batch,
        entries: src.Stored,
    ) -> logits.ColumnTerms:
        """Return the terms of the columns followed by those of stored entries."""
        key = entries.items
        if not self.masks.same_item:
            key = jnp.full_like(key, NO_KEY)
        log_count, _ = self._by_group(others, batch, entries.items)
        if self.correct != "none":
            log_count = jnp.logaddexp(log_count, entries.log_count[None, :])
        groups = max(columns.log_count.shape[0], log_count.shape[0])
        both = [
            jnp.broadcast_to(part, (groups, part.shape[1]))
            for part in (columns.log_count, log_count)
        ]
        log_mult = jnp.where(entries.on, 0.0, -jnp.inf)
        return columns._replace(
            log_mult=jnp.concatenate([columns.log_mult, log_mult]),
            log_count=jnp.concatenate(both, axis=1),
            key=jnp.concatenate([columns.key, key]),
        )

    def _slot_terms(
        self, counts: list[src.Count], batch: src.Batch, slots: src.Slots
    ) -> logits.PairTerms:
        """Return the terms of the slots [B, K]."""
        masked = self.masks.of_items(batch, slots.items)
        log_count = self._in_rows(counts, slots.items)
        log_count = jnp.broadcast_to(log_count, slots.items.shape)
        log_count = logits.tempered(log_count, self.strength)
        of_slots = [source for source in self.sources if isinstance(source, RowSlots)]
        if any(source.hard.log_q == "none" for source in of_slots):
            log_count = jnp.where(slots.is_hard, 0, log_count)
        return logits.PairTerms(
            log_mult=jnp.where(masked, -jnp.inf, 0.0),
            log_count=jnp.where(masked, 0, log_count),
        )

    def _listed_terms(
        self, listed: src.Listed, distinct: Distinct
    ) -> logits.ListedTerms:
        """Return listed counts at the places of their items among the columns'."""
        number = distinct.ids.shape[0]
        place = jnp.minimum(jnp.searchsorted(distinct.ids, listed.item), number - 1)
        # Padding has the id num_items, which padding of merged columns has too.
        present = distinct.ids[place] == listed.item
        present &= listed.item < self.num_items
        place = jnp.where(present, place, number).astype(jnp.int32)
        return logits.ListedTerms(place, listed.log_count)
