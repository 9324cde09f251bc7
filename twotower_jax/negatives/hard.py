"""Hard negatives: the choices of ``negatives/hard=``, and what each of them draws.

A choice draws for the slots of each row (`Hard.draw_slots`), and states how often to
expect any item among them (`Hard.counts`). `RowSlots` mixes them with easy draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twotower_jax.registry import Choice, Choices, Lazy, key, tag

if TYPE_CHECKING:
    import jax

    from twotower_jax.negatives import pools, source
    from twotower_jax.negatives.easy import EasyLaw, KnownLaw
    from twotower_jax.negatives.source import Batch, Count, Keys, RowPools, Slots
else:
    pools = Lazy("twotower_jax.negatives.pools")
    source = Lazy("twotower_jax.negatives.source")

HARD: Choices[Hard] = Choices("negatives.hard.source")


def hard_negatives(values: Mapping[str, Any]) -> bool:
    """Whether any slot is ever hard, given all values by dotted key."""
    if not values["negatives.hard.num"]:
        return False
    return values["negatives.hard_ratio"] != 0 or bool(values["negatives.hard_start"])


def _decides_num(values: Mapping[str, Any]) -> bool:
    """Slots that are never hard are easy draws per row, and else none.

    A key that turns a section on has an effect where it is 0.
    """
    return (
        hard_negatives(values)
        or values["negatives.layout"] == "per_row"
        or not values["negatives.hard.num"]
    )


def _decides_log_q(values: Mapping[str, Any]) -> bool:
    """Whether hard slots are corrected by a log q."""
    return hard_negatives(values) and values.get("loss.logq.correct", "none") != "none"


class HardDraws(NamedTuple):
    """Hard draws for every slot of the rows of a batch.

    Attributes:
      items: [B, K] int32; num_items where every candidate of the slot is masked.
      pool: Pools of the draws; L is 0 where they are not counted by pools.
    """

    items: jax.Array
    pool: RowPools


class HardInputs(NamedTuple):
    """Inputs of the hard draws of a step beside the batch.

    Attributes:
      num_items: size of the catalogue.
      arrays: what `Hard.prepare` made of the log; of `Funnel` the pools, with the
        arrays item, log_prob and stage [P, L], and of_row [n], the pool of each
        training positive, -1 for none.
      log_temperature: [] log of the temperature of the scores, of which () has none.
      alone: whether a row has no other draws.
    """

    num_items: int
    arrays: Any = ()
    log_temperature: Any = ()
    alone: bool = False


@dataclass(unsafe_hash=True)
class Hard(Choice):
    """Base of the sources of hard draws, which slots mix with easy ones.

    A subclass defines `draw_slots`, and `counts` where its draws have no pools.

    Class attributes:
      of_log: whether the pools are those of the log's funnel.
      scored: whether the model scores candidates.
      per_slot: whether each slot has candidates of its own.
      every_row: whether no row lacks hard draws, as a row with an empty pool does.
    """

    choices: ClassVar[Choices[Hard]] = HARD
    of_log: ClassVar[bool] = False
    scored: ClassVar[bool] = False
    per_slot: ClassVar[bool] = False
    every_row: ClassVar[bool] = False

    source: str = tag("", decides=hard_negatives)
    num: int = key(
        0,
        low=0,
        decides=_decides_num,
        doc="hard slots per row; 0: no hard negatives",
        example="negatives=hard negatives.hard.num=8",
    )
    log_q: str = key(
        "mixture",
        choices=("mixture", "easy", "none"),
        decides=_decides_log_q,
        doc="log q of hard draws: that of the row's mixture, of an easy draw, or none",
        example="negatives=hard negatives.hard.log_q=easy",
    )

    @property
    def candidates(self) -> int:
        """Easy draws that the model scores, of a row or of a slot; 0 for none."""
        return 0

    def prepare(self, log: Any, split: Any) -> Any:
        """Arrays of the log that the draws read, a tree of them; () for none.

        Args:
          log: `FunnelLog`, with the features of its users and items.
          split: `Split` of it; only ``split.train`` is known at the training.
        """
        return ()

    def draw_slots(
        self,
        inputs: HardInputs,
        memory: dict,
        key: Keys,
        batch: Batch,
        easy: EasyLaw | KnownLaw,
        num: int,
    ) -> HardDraws:
        """Hard draws [B, num] of the rows.

        Args:
          inputs: what the step reads beside the batch.
          memory: memories of all sources.
          key: keys of the step.
          batch: B rows.
          easy: the law of easy draws, from which candidates come.
          num: number of slots of a row.
        """
        raise NotImplementedError

    def counts(
        self, inputs: HardInputs, batch: Batch, drawn: Slots, log_num: jax.Array
    ) -> list[Count]:
        """Expected counts of hard draws: by default those of the rows' pools.

        Args:
          inputs, batch: as of `draw_slots`.
          drawn: the slots of the rows.
          log_num: [] log of the number of hard draws of a row.
        """
        pool = drawn.pool
        if not pool.size:
            return []
        return [source.Listed(pool.item, pool.log_prob + log_num)]


@dataclass(unsafe_hash=True)
class Pooled(Hard):
    """Base of the sources that draw from a pool of each row."""

    def pools(self, inputs: HardInputs, memory: dict, batch: Batch) -> RowPools:
        """The pools of the rows."""
        raise NotImplementedError

    def draw_slots(
        self,
        inputs: HardInputs,
        memory: dict,
        key: Keys,
        batch: Batch,
        easy: EasyLaw | KnownLaw,
        num: int,
    ) -> HardDraws:
        """Independent draws from the pools."""
        pool = self.pools(inputs, memory, batch)
        items = pools.draw_hard(key("negatives.hard"), pool.item, pool.log_prob, num)
        return HardDraws(items, pool)
