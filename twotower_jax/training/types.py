"""Records of the training step: structure is static, numbers are arguments.

Arms of a sweep that differ in numbers alone share one compiled program.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.hard_pools import HardPools
from twotower_jax.data.known_items import KnownItems
from twotower_jax.data.shards import take_rows
from twotower_jax.losses.loss import Loss
from twotower_jax.losses.terms import Term
from twotower_jax.model.tower import Model
from twotower_jax.negatives import Funnel, Hard
from twotower_jax.negatives.easy import MassTree, Proposal
from twotower_jax.negatives.masks import ScoreFilter, UserPositives
from twotower_jax.negatives.slots import HardRatio
from twotower_jax.negatives.source import Batch
from twotower_jax.optimizers import Optimizer
from twotower_jax.registry import join, split
from twotower_jax.training.temperature import TemperatureNumbers


class Negatives(NamedTuple):
    """The static part of the negatives of a row.

    Attributes:
      in_batch: Whether the other positives of the batch are columns.
      easy_num: Number of easy draws, per batch or, with per_row, per row.
      per_row: Whether each row draws easy negatives of its own.
      hard: The static part of the choice of hard draws, with their number per row.
      mixes: Whether the hard ratio decides which slots are hard; otherwise every hard
        slot is.
      bank: Number of entries of the cross-batch bank.
      mask: "none", "same_item" or "user_positives".
      top_k: Number of negatives with the best scores that are kept; 0 keeps all.
      distinct: Whether an item that stands several times in the batch counts once.
    """

    in_batch: bool = True
    easy_num: int = 0
    per_row: bool = False
    hard: Hard = split(Funnel())[0]
    mixes: bool = False
    bank: int = 0
    mask: str = "same_item"
    top_k: int = 0
    distinct: bool = False

    @property
    def hard_num(self) -> int:
        """Number of hard slots per row."""
        return self.hard.num

    @property
    def shared_easy(self) -> int:
        """Number of easy columns."""
        return 0 if self.per_row else self.easy_num

    @property
    def slots(self) -> int:
        """Number of slots per row."""
        return self.hard_num + (self.easy_num if self.per_row else 0)

    @property
    def only_hard(self) -> bool:
        """Whether hard draws are the only negatives."""
        return not (self.in_batch or self.easy_num or self.mixes)

    @property
    def switched(self) -> bool:
        """Whether the hard ratio switches easy columns and hard slots on and off."""
        return self.mixes and not self.per_row


class Structure(NamedTuple):
    """The static part of a program: another structure is another program.

    Attributes:
      model: Towers and their features.
      loss: Static part of the loss.
      negatives: Static part of the negatives.
      correct: Name in `CORRECTIONS`.
      optimizer: Static part of the optimizer.
      learn_temperature: Whether the temperature is a parameter.
      merged_size: Number of merged columns; 0 keeps one column per draw.
      num_items: Size of the catalogue.
      ids_alone: Whether the embeddings of ids learn, and all else keeps its value.
      end_to_end: Whether the rows of a batch are sequences in their order, end to end.
      terms: Static parts of the further terms of the loss.
      buckets: Buckets per hash of the streaming frequency; 0 where q+ is counted.
    """

    model: Model
    loss: Loss
    negatives: Negatives
    correct: str
    optimizer: Optimizer
    learn_temperature: bool
    merged_size: int
    num_items: int
    ids_alone: bool = False
    end_to_end: bool = False
    terms: tuple[Term, ...] = ()
    buckets: int = 0


class Hyper(NamedTuple):
    """The numbers of a program, all of them arrays; () and {} for what is not in use.

    Attributes:
      seed: [] uint32.
      log_temperature: [] log of the temperature, or of a learned one at the start.
      temperature: Numbers of the update of a learned temperature.
      log_q_batch: [num_items] log q+ of the items of a batch.
      easy: Proposal of the easy draws.
      optimizer: Numbers of the optimizer.
      l2: [] factor of the L2 penalty.
      decay_steps: [] steps in which the learning rate falls linearly to 0; 0 keeps it.
      loss: Numbers of the loss; their temperature is not read.
      hard: Numbers of the choice of hard draws.
      hard_ratio: Schedule of the share of hard slots.
      bank_warmup: [] steps before the bank is used.
      streaming_alpha: [] learning rate of the streaming frequency.
      positive_weight: ([num_items] weight of a positive,).
      known_mass: (Sums of the easy proposal in the order of first events,) where rows
        restrict their easy draws to known items.
      logq_strength: ([] factor of the logs of expected counts,) where it is not 1.
      weight_temperature: ([] temperature of the weights of rows,) in a loss at k.
      filters: (Filter of negatives by their scores,).
      terms: Numbers of the further terms of the loss.
      dropout: {"query": [] share of the numbers of a query embedding that are dropped,
        "sequence": [] share of those within a transformer}.
    """

    seed: jax.Array
    log_temperature: jax.Array
    temperature: TemperatureNumbers
    log_q_batch: jax.Array
    easy: Proposal
    optimizer: dict[str, jax.Array]
    l2: jax.Array
    decay_steps: jax.Array
    loss: dict[str, jax.Array]
    hard: dict[str, jax.Array]
    hard_ratio: HardRatio
    bank_warmup: jax.Array
    streaming_alpha: jax.Array
    positive_weight: tuple[jax.Array, ...] = ()
    known_mass: tuple[MassTree, ...] = ()
    logq_strength: tuple[jax.Array, ...] = ()
    weight_temperature: tuple[jax.Array, ...] = ()
    filters: tuple[ScoreFilter, ...] = ()
    terms: tuple[dict[str, Any], ...] = ()
    dropout: dict[str, jax.Array] = {}  # noqa: RUF012 (never changed)


@dataclass(frozen=True)
class Program:
    """A training program: a tree whose leaves are numbers and whose form is static.

    A jitted function takes it as an ordinary argument. Two programs of equal structure
    are one compiled program, whatever their numbers are.

    Attributes:
      structure: Static part.
      hyper: Numbers.
    """

    structure: Structure
    hyper: Hyper

    @property
    def terms(self) -> tuple[Term, ...]:
        """The further terms of the loss, with their numbers."""
        pairs = zip(self.structure.terms, self.hyper.terms, strict=True)
        return tuple(join(static, numbers) for static, numbers in pairs)


jax.tree_util.register_dataclass(
    Program, data_fields=["hyper"], meta_fields=["structure"]
)


class TrainData(NamedTuple):
    """Training positives and their features, resident on the device.

    Attributes:
      queries: Queries of the n positives.
      item: [n] int32 clicked items.
      entities: Features of users and items.
      pools: Hard negatives of the log, or None where no row has any.
      hard: What another choice of hard draws has prepared of the log.
      positives: Training positives of every user; None masks none of them.
      known: Items known at each positive; None: all of them are.
      weight: [n] weight of each positive, with the mean 1 over the rows of an epoch;
        None for equal weights.
    """

    queries: Queries
    item: jax.Array
    entities: Entities
    pools: HardPools | None = None
    positives: UserPositives | None = None
    known: KnownItems | None = None
    weight: jax.Array | None = None
    hard: Any = ()

    def batch(self, rows: jax.Array) -> Batch:
        """Return the positives ``rows`` [B] int32."""
        queries = jax.tree.map(lambda x: take_rows(x, rows), self.queries)
        return Batch(rows, take_rows(self.item, rows), queries)


class TrainState(NamedTuple):
    """Everything that a step changes, and all that a checkpoint holds.

    Attributes:
      step: [] int32 number of steps done.
      params: {"tables": {name: [size, dim]}, "dense": ...}, and "log_temperature" []
        where it is learned.
      opt_state: {"tables": {name: ...}, "dense": ...}.
      samplers: Memories of the samplers in use: "bank", "frequency", "mined" and
        "lost_slots", and "kth_score" of a loss at k.
    """

    step: jax.Array
    params: dict[str, Any]
    opt_state: dict[str, Any]
    samplers: dict[str, Any]
