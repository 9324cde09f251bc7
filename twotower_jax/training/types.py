"""What a training step is made of: structure is static, numbers are arguments.

Arms of a sweep that differ in numbers only share one compiled program.
"""

from typing import NamedTuple

import jax

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.losses.rowwise import LossNumbers
from twotower_jax.model.two_tower import Model
from twotower_jax.sampling.masks import UserPositives
from twotower_jax.sampling.pool_arrays import HardPools
from twotower_jax.sampling.proposals import Proposal
from twotower_jax.training.optimizers import OptimizerNumbers


class Negatives(NamedTuple):
    """Which items a row is compared with; the static part of ``negatives``.

    Attributes:
      in_batch: the other positives of the batch are columns.
      easy_num: easy draws, shared by the batch or, with per_row, of each row.
      per_row: each row draws its easy negatives itself.
      hard_num: hard slots a row.
      hard_source: "log", "mined" or "dns".
      candidate_num: draws of dns that the best is chosen from.
      log_q: "mixture", "easy" or "none", what hard draws are corrected by.
      mixes: the hard ratio decides which slots are hard; else all hard slots are.
      bank: entries of the cross-batch bank.
      mask: "none", "same_item" or "user_positives".
      top_k: best scored negatives that are kept; 0 keeps all.
    """

    in_batch: bool = True
    easy_num: int = 0
    per_row: bool = False
    hard_num: int = 0
    hard_source: str = "log"
    candidate_num: int = 0
    log_q: str = "mixture"
    mixes: bool = False
    bank: int = 0
    mask: str = "same_item"
    top_k: int = 0

    @property
    def shared_easy(self) -> int:
        """Number of easy columns."""
        return 0 if self.per_row else self.easy_num

    @property
    def slots(self) -> int:
        """Number of a row's own slots."""
        return self.hard_num + (self.easy_num if self.per_row else 0)

    @property
    def has_pools(self) -> bool:
        """Whether hard draws come from pools of items."""
        return self.hard_num > 0 and self.hard_source != "dns"

    @property
    def pools_count(self) -> bool:
        """Whether expected counts have a term of the row's pool."""
        return self.has_pools and self.log_q == "mixture"


class Structure(NamedTuple):
    """What a compiled program depends on, beside the shapes of its arguments.

    Attributes:
      reweight: rows weigh ``Hyper.positive_weight`` of their item.
      merged_size: static number of merged columns; 0 keeps one column a draw.
    """

    model: Model
    loss: str
    negatives: Negatives
    correct: str
    optimizer: str
    learn_temperature: bool
    merged_size: int
    num_items: int
    frequency: str = "counts"
    reweight: bool = False


class HardRatio(NamedTuple):
    """The share of hard slots: from start to end in ``steps`` steps, linearly."""

    start: jax.Array
    end: jax.Array
    steps: jax.Array


class Hyper(NamedTuple):
    """Every number of a run, as arrays.

    Attributes:
      seed: uint32 scalar.
      log_temperature: scalar; not read when the temperature is learned.
      log_q_batch: [num_items] log q+ of the batch's items.
      easy: the easy proposal.
      optimizer: the optimizer's numbers.
      decay_steps: steps in which the learning rate falls linearly to 0; 0 keeps it.
      loss: numbers of the losses (the temperature in them is not read).
      hard_ratio: the schedule of hard slots.
      bank_warmup: steps before the bank is used.
      streaming_alpha: learning rate of the streaming frequency.
      positive_weight: [num_items] weight of a positive, or None.
    """

    seed: jax.Array
    log_temperature: jax.Array
    log_q_batch: jax.Array
    easy: Proposal
    optimizer: OptimizerNumbers
    decay_steps: jax.Array
    loss: LossNumbers
    hard_ratio: HardRatio
    bank_warmup: jax.Array
    streaming_alpha: jax.Array
    positive_weight: jax.Array | None = None


class TrainData(NamedTuple):
    """Training positives and what belongs to them, resident on the device.

    Attributes:
      queries: of the [n] positives.
      item: [n] int32 items that they clicked.
      entities: features of users and items.
      pools: hard negatives of the log, or None.
      positives: the users' training positives, for the mask, or None.
    """

    queries: Queries
    item: jax.Array
    entities: Entities
    pools: HardPools | None = None
    positives: UserPositives | None = None


class TrainState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      step: number of steps done.
      params, opt_state: {"tables": ..., "dense": ...}.
      samplers: what samplers remember: "bank", "frequency", "mined"; those in use.
    """

    step: jax.Array
    params: dict
    opt_state: dict
    samplers: dict
