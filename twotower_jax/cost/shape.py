"""The shape of a training: every size that decides its memory and its work."""

import itertools
from typing import NamedTuple

import jax
import numpy as np

from twotower_jax.losses.blocks import block_rows
from twotower_jax.model.sequence import SequenceSpec
from twotower_jax.model.tower import TowerSpec
from twotower_jax.model.two_tower import table_sizes
from twotower_jax.negatives.masks import MASKS
from twotower_jax.registry import join, split
from twotower_jax.training.problem import Streaming
from twotower_jax.training.queries import places_of_chunk
from twotower_jax.training.types import Structure


class Extras(NamedTuple):
    """Arrays of a training that not every run has.

    Attributes:
      streaming: arrays of the streaming estimate, or None where log q+ is counted.
      pool: largest pool of hard negatives of the log, in items.
      window: mined items per user.
      reweighted: whether positives have weights by item.
      weighted: whether positives have weights of the log.
      known: whether negatives are restricted to known items.
      two_way: whether there is a softmax over the users of a batch.
      of_users: whether it is corrected by their shares.
      timed_order: whether positives are read in the order of time.
      blocks: whether they are read in the order of blocks.
      fed: whether they lie on the host, and each dispatch is fed its own.
      mapped: whether the log is read by memory maps.
      mapped_pools: whether its pools of hard negatives are.
    """

    streaming: Streaming | None = None
    pool: int = 0
    window: int = 0
    reweighted: bool = False
    weighted: bool = False
    known: bool = False
    two_way: bool = False
    of_users: bool = False
    timed_order: bool = False
    blocks: bool = False
    fed: bool = False
    mapped: bool = False
    mapped_pools: bool = False


class Shape(NamedTuple):
    """The shape of a training.

    Attributes:
      structure: static part of the program.
      batch: rows B of a batch, over all devices.
      devices: devices over which they are spread.
      steps_per_dispatch: steps of one call.
      users, positives: of the training part.
      seen: positives up to the end of training.
      log_rows: rows of the log, of every stage.
      feature_bytes: bytes of the features of a user, and of an item.
      touched: expected distinct rows of a table of histories per step.
      extras: arrays that not every run has.
      shards: devices over which the rows of a table are spread, a divisor of devices.
    """

    structure: Structure
    batch: int
    devices: int
    steps_per_dispatch: int
    users: int
    positives: int
    seen: int
    log_rows: int
    feature_bytes: tuple[int, int]
    touched: int
    extras: Extras = Extras()
    shards: int = 1

    @property
    def dim(self) -> int:
        """Numbers per vector, D."""
        return self.structure.model.candidate.dim

    @property
    def moments(self) -> int:
        """Numbers per parameter that the optimizer keeps beside it."""
        numbers = dict.fromkeys(split(type(self.structure.optimizer)())[1], 0)
        optimizer = join(self.structure.optimizer, numbers)
        state = optimizer.transformation().init(np.zeros((1, 1), np.float32))
        return sum(np.ndim(leaf) == 2 for leaf in jax.tree.leaves(state))

    @property
    def updated_rows(self) -> int:
        """Rows of tables that every step updates, whatever its batch names."""
        return sum(self.tables.values()) if self.updates_every_row else 0

    @property
    def updates_every_row(self) -> bool:
        """Whether the optimizer updates all rows of a table in each step."""
        return self.structure.optimizer.every_row

    @property
    def rows(self) -> int:
        """Rows of a batch on each device."""
        return -(-self.batch // self.devices)

    @property
    def whole_catalogue(self) -> bool:
        """Whether the loss has a column for each item of the catalogue."""
        return self.structure.loss.whole_catalogue

    @property
    def drawn(self) -> int:
        """Columns as they are drawn, before equal items are merged."""
        negatives = self.structure.negatives
        if self.whole_catalogue:
            return self.structure.num_items
        return negatives.shared_easy + (self.batch if negatives.in_batch else 0)

    @property
    def columns(self) -> int:
        """Columns C that are scored, those of a bank among them."""
        size, bank = self.structure.merged_size, self.structure.negatives.bank
        merged = size if 0 < size < self.drawn else self.drawn
        return merged + (0 if self.whole_catalogue else bank)

    @property
    def most_columns(self) -> int:
        """Columns of a batch whose items are all distinct: those of the memory."""
        bank = 0 if self.whole_catalogue else self.structure.negatives.bank
        return self.drawn + bank

    @property
    def slots(self) -> int:
        """Slots K of a row, candidates of its own."""
        return 0 if self.whole_catalogue else self.structure.negatives.slots

    @property
    def candidates(self) -> int:
        """Items that the candidate tower encodes for a step with gradients."""
        columns = self.columns - (
            0 if self.whole_catalogue else self.structure.negatives.bank
        )
        negatives = self.structure.negatives
        positives = 0 if self.whole_catalogue or negatives.in_batch else self.rows
        encoded = columns + positives + self.rows * self.slots
        if self.each_item_once:
            encoded = self.structure.num_items
        return encoded + 2 * self._views

    @property
    def each_item_once(self) -> bool:
        """Return whether slots and columns are more than the items of the catalogue.

        Their distinct items are then encoded, and slots and columns read the vectors.
        """
        negatives = self.structure.negatives
        drawn = self.drawn + self.batch * (self.slots + (not negatives.in_batch))
        return bool(self.slots) and drawn > self.structure.num_items

    @property
    def most_candidates(self) -> int:
        """Items that it encodes where all items of the batch are distinct."""
        if self.each_item_once:
            return self.candidates
        merged = self.structure.merged_size
        added = self.drawn - merged if 0 < merged < self.drawn else 0
        return self.candidates + added

    @property
    def scored(self) -> int:
        """Candidates that are encoded and scored without gradients, for a choice."""
        negatives = self.structure.negatives
        if not negatives.hard_num or self.whole_catalogue:
            return 0
        if not negatives.hard.scored:
            return 0
        per_slot = negatives.slots if negatives.hard.per_slot else 1
        return self.rows * negatives.hard.candidates * per_slot

    @property
    def tokens(self) -> int:
        """Places of histories that a step reads."""
        history = self.structure.model.query.history
        if history is None:
            return 0
        if self.structure.end_to_end:
            return self.rows  # each item of a sequence is read once
        return self.rows * history.length

    @property
    def in_chunks(self) -> bool:
        """Whether a step embeds its queries in chunks of rows, each of them twice.

        The gradient of a chunk computes its embeddings again.
        """
        return self.tokens_at_once < self.tokens

    @property
    def tokens_at_once(self) -> int:
        """Places of histories whose vectors are held at a time."""
        history = self.structure.model.query.history
        if history is None or not history.by_place or self.structure.end_to_end:
            return self.tokens
        if self.devices > 1:  # each has its part of the rows in one piece
            return self.tokens
        return min(self.tokens, places_of_chunk(history))

    @property
    def sequence(self) -> SequenceSpec | None:
        """The transformer of the query tower, None without it."""
        history = self.structure.model.query.history
        return None if history is None else history.sequence

    @property
    def seen_tokens(self) -> int:
        """Tokens that a token of the transformer is compared with."""
        length = 0 if self.sequence is None else self.sequence.length
        return length * (2 if self.structure.end_to_end else 1)

    @property
    def user_pairs(self) -> int:
        """Pairs of a row and a user of the batch that are scored."""
        return self.rows * self.batch * self.extras.two_way

    @property
    def counts_pools(self) -> bool:
        """Whether log q reads the probability of each column in the pool of its row."""
        negatives, structure = self.structure.negatives, self.structure
        return bool(
            negatives.hard_num
            and self.columns
            and structure.correct != "none"
            and negatives.hard.log_q == "mixture"
            and not negatives.hard.per_slot
        )

    @property
    def masks_users(self) -> bool:
        """Whether the mask leaves out every positive of the user of a row."""
        return MASKS[self.structure.negatives.mask].user_positives

    @property
    def masks_columns(self) -> bool:
        """Whether items of columns are masked row by row."""
        return self.masks_users or self.extras.known

    @property
    def block(self) -> int:
        """Rows b of one block of scores, of the columns that are usual."""
        return block_rows(self.rows, self.columns)

    @property
    def tables(self) -> dict[str, int]:
        """Rows of every table, by name."""
        model = self.structure.model
        return table_sizes("query", model.query) | table_sizes(
            "candidate", model.candidate
        )

    @property
    def _views(self) -> int:
        return self.structure.view_num


def widths(spec: TowerSpec) -> tuple[int, ...]:
    """Widths of the layers of a tower, its input first; () without hidden layers."""
    if not spec.hidden:
        return ()
    return (len(spec.features) * spec.dim, *spec.hidden, spec.dim)


def dense_numbers(spec: TowerSpec) -> int:
    """Parameters of a tower without its tables.

    sum (before + 1) after over layers; D per number; D for attention; and for a
    transformer of l layers L D + 2 D + l (6 (D + 1) D + 4 D).
    """
    layers = widths(spec)
    total = sum((one + 1) * two for one, two in itertools.pairwise(layers))
    total += spec.dim * sum(one.numbers for one in spec.features)
    history = spec.history
    if history is None:
        return total
    total += spec.dim * sum(one.numbers for one in history.features)
    if history.pooling == "attention":
        total += spec.dim
    if history.sequence is not None:
        one = history.sequence
        layer = 6 * (one.dim + 1) * one.dim + 4 * one.dim
        total += (one.length + 2) * one.dim + one.layers * layer
    return total
