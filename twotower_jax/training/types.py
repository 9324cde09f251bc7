"""Records of the training step: its program, its data and its state."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from twotower_jax.arrays.shards import take_rows
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.hard_pools import HardPools
from twotower_jax.data.known_items import KnownItems
from twotower_jax.losses.loss import Loss
from twotower_jax.losses.terms import Term
from twotower_jax.model.tower import Model
from twotower_jax.negatives import Hard, HardRatio
from twotower_jax.negatives.easy import MassTree, Proposal
from twotower_jax.negatives.frequency import Streamed
from twotower_jax.negatives.masks import ScoreFilter, UserPositives
from twotower_jax.negatives.source import Batch
from twotower_jax.optimizers import Optimizer


class Negatives(NamedTuple):
    """The numbers of negatives of a row, and how they are laid out."""

    in_batch: bool = True  # whether the other positives of the batch are columns
    easy_num: int = 0  # number of easy draws, per batch or, with per_row, per row
    per_row: bool = False  # whether each row draws easy negatives of its own
    hard_num: int = 0  # number of hard slots per row
    # Whether the hard ratio decides which slots are hard; otherwise every hard slot is.
    mixes: bool = False
    bank: int = 0  # entries of the cross-batch bank
    mask: str = "same_item"  # none, same_item or user_positives
    top_k: int = 0  # negatives with the best scores that are kept; 0 keeps all

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


class TemperatureNumbers(NamedTuple):
    """Numbers of the update of a learned temperature T."""

    rate: jax.Array  # [] change of log T per unit of its gradient
    low: jax.Array  # [] lowest log T
    high: jax.Array  # [] highest log T


@dataclass(frozen=True)
class Program:
    """A training program: a tree whose leaves are arrays, and whose form is static.

    A jitted function takes it as an ordinary argument. Programs that differ in numbers
    alone are one compiled program. What is not in use is () or {}.
    """

    # Choices, with arrays in place of their numbers.
    loss: Loss  # its temperature is not read
    terms: tuple[Term, ...]  # of the loss, beside that of the rows
    optimizer: Optimizer
    hard: Hard
    seed: jax.Array  # [] uint32
    log_temperature: jax.Array  # [], of a learned one at the start
    temperature: TemperatureNumbers
    log_q_batch: jax.Array  # [num_items] log q+ of the items of a batch
    easy: Proposal  # of the easy draws
    decay_steps: jax.Array  # [] in which the learning rate falls to 0; 0 keeps it
    hard_ratio: HardRatio
    bank_warmup: jax.Array  # [] steps before the bank is used
    streamed: tuple[Streamed, ...]  # the streaming law of q+, where it is not counted
    positive_weight: tuple[jax.Array, ...]  # ([num_items] weight of a positive,)
    # Where rows restrict their easy draws to known items: (sums of the easy proposal in
    # the order of first events,).
    known_mass: tuple[MassTree, ...]
    logq_strength: tuple[jax.Array, ...]  # ([] factor of log N,) where not 1
    weight_temperature: tuple[jax.Array, ...]  # ([] of a loss at k,)
    filters: tuple[ScoreFilter, ...]
    # Shares that are dropped, []: "query" of the numbers of a query embedding,
    # "sequence" of those within a transformer.
    dropout: dict[str, jax.Array]
    # Static: other values are another compiled program.
    model: Model
    negatives: Negatives
    num_items: int
    correct: str  # name in `CORRECTIONS`
    learn_temperature: bool
    merged_size: int  # number of merged columns; 0 keeps one column per draw
    ids_alone: bool  # whether embeddings of ids learn, and nothing else
    end_to_end: bool  # whether the rows of a batch are sequences, end to end


STATIC = tuple(Program.__annotations__)[-8:]
jax.tree_util.register_dataclass(
    Program, [name for name in Program.__annotations__ if name not in STATIC], STATIC
)


class TrainData(NamedTuple):
    """Training positives and their features, resident on the device."""

    queries: Queries  # of the n positives
    item: jax.Array  # [n] int32 clicked items
    entities: Entities  # features of users and items
    pools: HardPools | None = None  # hard negatives of the log
    positives: UserPositives | None = None  # of every user; None masks none of them
    known: KnownItems | None = None  # at each positive; None: all items are
    # [n], with the mean 1 over the rows of an epoch; None for equal weights.
    weight: jax.Array | None = None
    hard: Any = ()  # what another choice of hard draws has prepared of the log

    def batch(self, rows: jax.Array) -> Batch:
        """Return the positives ``rows`` [B] int32."""
        queries = jax.tree.map(lambda x: take_rows(x, rows), self.queries)
        return Batch(rows, take_rows(self.item, rows), queries)


class TrainState(NamedTuple):
    """Everything that a step changes, and all that a checkpoint holds."""

    step: jax.Array  # [] int32 number of steps done
    # {"tables": {name: [size, dim]}, "dense": ...}, and a learned "log_temperature" [].
    params: dict[str, Any]
    opt_state: dict[str, Any]  # {"tables": {name: ...}, "dense": ...}
    # Memories in use: "bank", "frequency", "mined", "lost_slots" and "kth_score".
    samplers: dict[str, Any]
