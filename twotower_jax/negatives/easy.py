"""Easy negatives: draws from the whole catalogue, or from the items known by then.

With ``negatives.available`` a row of a positive at time t has only items of the log by
t. In the layout per row each row draws from the proposal restricted to its own moment,
so that an item j that it knows is expected m q_j / Q(t) times, with Q(t) the mass of
the restriction. Columns are shared by rows of different moments: they are drawn from
the whole proposal, and every row masks those that it does not know. An item that it
knows is then expected m q_j times, and the number of draws that count varies with the
row, m Q(t) on average.

A restriction of columns to the latest moment of the batch would waste fewer draws, but
that moment depends on the other rows, whose items are negatives too: given it, they are
no draws from q+, and the sum over a mixture of both is biased.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.shards import take_rows
from twotower_jax.negatives.availability import MassTree, log_known_mass, sample_known
from twotower_jax.negatives.proposals import (
    Proposal,
    log_prob,
    make_proposal,
    sample,
)
from twotower_jax.negatives.source import Batch, ByItem, Count, Keys, Shared, Source


class EasyLaw(NamedTuple):
    """The distribution of easy draws, the same for all rows.

    Attributes:
      proposal: distribution over the catalogue, whose arrays may be padded.
      num_items: size of the catalogue.
    """

    proposal: Proposal
    num_items: int

    def draw(self, key: jax.Array, batch: Batch, shape: tuple[int, ...]) -> jax.Array:
        """Independent draws of a shape; its first axis is that of the rows."""
        return sample(key, self.proposal, shape, self.num_items)

    def log_q(self, items: jax.Array) -> jax.Array:
        """Log probability [...] of a draw of items, whatever the row knows."""
        return log_prob(self.proposal, items)

    def log_mass(self, batch: Batch) -> jax.Array:
        """Log of the mass of the items that a row may draw, [B]: 0, all of them."""
        return jnp.zeros(batch.size)

    def count(
        self, batch: Batch, draws: jax.Array, group: tuple[jax.Array, ...] = ()
    ) -> ByItem:
        """Expected counts of draws, a number or [G] by group of rows."""
        return ByItem(id(self.proposal), self.log_q, draws, group)


class KnownLaw(NamedTuple):
    """Easy draws that each row restricts to the items known at its moment.

    Attributes:
      proposal, num_items: of `EasyLaw`.
      tree: sums of the proposal in the order of first events.
      number: [n] int32 number of items known at each training positive.
    """

    proposal: Proposal
    num_items: int
    tree: MassTree
    number: Any

    def draw(self, key: jax.Array, batch: Batch, shape: tuple[int, ...]) -> jax.Array:
        """Independent draws of a shape; its first axis is that of the rows."""
        number = take_rows(self.number, batch.rows)
        number = number.reshape(-1, *[1] * (len(shape) - 1))
        return sample_known(key, self.tree, number, shape)

    def log_q(self, items: jax.Array) -> jax.Array:
        """Log probability [...] of a draw of items, whatever the row knows."""
        return log_prob(self.proposal, items)

    def log_mass(self, batch: Batch) -> jax.Array:
        """Log of the mass of the items that each row knows, [B]."""
        return log_known_mass(self.tree, take_rows(self.number, batch.rows))

    def count(
        self, batch: Batch, draws: jax.Array, group: tuple[jax.Array, ...] = ()
    ) -> ByItem:
        """Expected counts of draws: an item that a row knows m q_j / Q times.

        With masses of their own rows are groups of their own.
        """
        of_row = group[0] if group else jnp.zeros(batch.size, int)
        draws = jnp.atleast_1d(draws)[of_row] * jnp.exp(-self.log_mass(batch))
        every = jnp.arange(batch.size, dtype=jnp.int32)
        return ByItem(id(self.proposal), self.log_q, draws, (every,))


@dataclass(frozen=True)
class Easy(Source):
    """Easy draws that all rows share: m columns.

    Attributes:
      law: distribution of a draw.
      num: number m of draws.
      on: [] chance that a draw counts, () for 1.

    Examples:
      >>> from twotower_jax.negatives import uniform_negatives
      >>> source, batch = uniform_negatives(256, 1000), Batch(*2 * [jnp.arange(4)])
      >>> drawn = source.draw({}, Keys(0), batch)
      >>> drawn.items.shape
      (256,)
      >>> log_n = source.log_count({}, batch, drawn, jnp.array([[3]]))
      >>> round(float(jnp.exp(log_n[0, 0])), 3)  # 256 draws of 1/1000
      0.256
    """

    law: EasyLaw | KnownLaw
    num: int
    on: tuple[jax.Array, ...] = ()

    def draw(self, memory: dict, key: Keys, batch: Batch) -> Shared:
        """Draws [m]; num_items for one that does not count."""
        items = sample(
            key("negatives.easy"), self.law.proposal, (self.num,), self.law.num_items
        )
        for chance in self.on:
            counts = jax.random.uniform(key("negatives.switch"), items.shape) < chance
            items = jnp.where(counts, items, self.law.num_items)
        return Shared(items)

    def counts(self, memory: dict, batch: Batch, drawn: Shared) -> list[Count]:
        """An item is expected m q_j times, or fewer where draws are switched off."""
        return [ByItem(id(self.law.proposal), self.law.log_q, self.expected()[None])]

    def expected(self) -> jax.Array:
        """Expected draws of a row, []."""
        draws = jnp.float32(self.num)
        for chance in self.on:
            draws *= chance
        return draws


def uniform_negatives(num: int, num_items: int) -> Easy:
    """Source of uniform draws from the catalogue, shared by all rows.

    Args:
      num: draws per batch.
      num_items: size of the catalogue.

    Examples:
      >>> uniform_negatives(256, 1000).num
      256
    """
    proposal = make_proposal("uniform", np.zeros(num_items))
    return Easy(EasyLaw(proposal, num_items), num)


def popular_negatives(num: int, clicks: np.ndarray, alpha: float = 0.75) -> Easy:
    """Source of draws by (clicks + 1)^alpha, shared by all rows.

    Args:
      num: draws per batch.
      clicks: [num_items] training positives of each item.
      alpha: exponent; .75 is that of word2vec.

    Examples:
      >>> popular_negatives(8, np.array([3, 0])).law.num_items
      2

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, section 2.2.
    """
    proposal = make_proposal("popularity", clicks, alpha=alpha)
    return Easy(EasyLaw(proposal, len(clicks)), num)
