"""Easy negatives: draws by a weight per item, from all items or those known by then.

With ``negatives.available`` a row of a positive at time t has only items of the log by
t. In the layout per row each row draws from the proposal restricted to its own moment:
an item j that it knows is expected m q_j / Q(t) times, with Q(t) the mass of the
restriction. Columns are drawn from the whole proposal, and every row masks those that
it does not know: m q_j times. A restriction to the latest moment of the batch would
depend on the other rows, whose items are negatives too, and bias the sum of both.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.arrays.shards import spread_batch, take, take_rows
from twotower_jax.keys import fine_uniform
from twotower_jax.negatives.samplers import EASY
from twotower_jax.negatives.source import Batch, ByItem, Count, Keys, Shared, Source


class Proposal(NamedTuple):
    """A distribution over the catalogue: arrays, so that its arms share a program."""

    log_q: jax.Array  # [num_items] float32 log probability of a draw
    threshold: jax.Array  # [num_items] float32, chance that a cell keeps its own item
    alias: jax.Array  # [num_items] int32, the item drawn otherwise


def make_proposal(name: str, counts: np.ndarray, **keys: Any) -> Proposal:
    """Proposal of a law of `EASY` with its keys, from counts [num_items] of positives.

    Examples:
      >>> proposal = make_proposal("popularity", np.array([0, 2]), alpha=1.0)
      >>> np.exp(proposal.log_q).round(4).tolist()
      [0.25, 0.75]
    """
    return from_weights(EASY[name](**keys).weights(counts))


def from_weights(weights: np.ndarray) -> Proposal:
    """Proposal q_i = w_i / sum_j w_j of weights [num_items]."""
    return jax.tree.map(jnp.asarray, host_proposal(weights))


def host_proposal(weights: np.ndarray) -> Proposal:
    """`from_weights` as arrays of numpy."""
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not len(weights):
        raise ValueError(f"weights must be [num_items], got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        worst = int(np.argmin(np.where(np.isfinite(weights), weights, -np.inf)))
        raise ValueError(
            f"weights must be finite and above 0, got {weights[worst]} for item {worst}"
        )
    log_q = np.log(weights) - np.log(weights.sum())
    threshold, alias = _alias_table(np.exp(log_q))
    arrays = log_q.astype("f4"), threshold.astype("f4"), alias.astype("i4")
    return Proposal(*cast(Any, arrays))


def _alias_table(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Vose's thresholds and aliases [n], in O(n) by vectorised rounds.

    Each round pairs cells below the mean with cells above it, which may become small.
    """
    mass = q * len(q)
    threshold, alias = np.ones(len(q)), np.arange(len(q))
    small, large = np.flatnonzero(mass < 1), np.flatnonzero(mass >= 1)
    while len(small) and len(large):
        pairs = min(len(small), len(large))
        low, high = small[:pairs], large[:pairs]
        threshold[low], alias[low] = mass[low], high
        mass[high] -= 1 - mass[low]
        now_small = mass[high] < 1
        small = np.concatenate([small[pairs:], high[now_small]])
        large = np.concatenate([high[~now_small], large[pairs:]])
    return threshold, alias


def sample(
    key: jax.Array,
    proposal: Proposal,
    shape: tuple[int, ...],
    num_items: int | None = None,
) -> jax.Array:
    """Independent draws from a proposal, with replacement.

    References:
      Vose, A Linear Algorithm for Generating Random Numbers with a Given
      Distribution, IEEE Transactions on Software Engineering 1991.
    """
    cell_key, keep_key = jax.random.split(key)
    items = proposal.alias.shape[0] if num_items is None else num_items
    cell = jax.random.randint(cell_key, shape, 0, items)
    keep = fine_uniform(keep_key, shape) < take(proposal.threshold, cell)
    return jnp.where(keep, cell, take(proposal.alias, cell)).astype(jnp.int32)


def log_prob(proposal: Proposal, ids: jax.Array) -> jax.Array:
    """Log probability of a draw, for any item, [...] float32."""
    return take(proposal.log_q, ids)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MassTree:
    """Sums of a proposal over the nodes of a binary tree."""

    # [2 P] float32: the root is 1, the children of node i are 2 i and 2 i + 1, and the
    # leaf of place k is P + k
    mass: Any
    item: Any  # [num_items] int32 items in the order of first events
    # P, a power of 2; spread arrays have padding behind their ends
    leaves: int = field(metadata={"static": True})


def host_mass_tree(proposal: Proposal, place: np.ndarray) -> MassTree:
    """The sums of a proposal in the order of first events, in arrays of numpy."""
    q = np.exp(np.asarray(proposal.log_q, np.float64))
    item = np.empty(len(q), np.int32)
    item[np.asarray(place)] = np.arange(len(q))
    size = leaves = 1 << max(len(q) - 1, 1).bit_length()
    mass = np.zeros(2 * size)
    mass[size : size + len(q)] = q[item]
    while size > 1:
        size //= 2
        pairs = mass[2 * size : 4 * size].reshape(-1, 2)
        mass[size : 2 * size] = pairs.sum(axis=1)
    return MassTree(mass.astype(np.float32), item, leaves)


def log_known_mass(tree: MassTree, number: jax.Array) -> jax.Array:
    """Log of Q: the probability that a draw from the whole proposal is a known item."""
    whole = _masses(tree, jnp.ones_like(number))
    return jnp.log(_boundary(tree, number)[-1]) - jnp.log(whole)


def sample_known(
    key: jax.Array, tree: MassTree, number: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Independent draws from the proposal restricted to known items."""
    number = jnp.asarray(number, jnp.int32)
    boundary, size = _boundary(tree, number), tree.leaves
    last = size + number - 1
    uniform = fine_uniform(key, (len(boundary) - 1, *shape))

    def descend(done: jax.Array, node: jax.Array) -> jax.Array:
        level = len(boundary) - 2 - done
        # Nodes of a level ascend with their places: beyond the edge none is known.
        edge, left = last >> level, 2 * node
        masses = [
            jnp.where(child < edge, _masses(tree, child), 0)
            + jnp.where(child == edge, boundary[level], 0)
            for child in (left, left + 1)
        ]
        right = uniform[level] * (masses[0] + masses[1]) >= masses[0]
        return left + (right & (masses[1] > 0))

    root = jnp.ones(shape, jnp.int32)
    leaf = jax.lax.fori_loop(0, len(boundary) - 1, descend, root)
    return spread_batch(take(tree.item, leaf - size))


def _boundary(tree: MassTree, number: jax.Array) -> jax.Array:
    """Return the known mass below each ancestor of the last known leaf, leaf first."""
    size = tree.leaves

    def ascend(
        below: tuple[jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        node, mass = below
        mass = mass + jnp.where(node % 2 == 1, _masses(tree, node - 1), 0)
        return (node // 2, mass), mass

    leaf = size + jnp.asarray(number, jnp.int32) - 1
    first = _masses(tree, leaf)
    _, masses = jax.lax.scan(ascend, (leaf, first), length=size.bit_length() - 1)
    return jnp.concatenate([first[None], masses])


def _masses(tree: MassTree, nodes: jax.Array) -> jax.Array:
    """Return the masses of nodes, spread over a mesh like the rows of a batch."""
    return spread_batch(take(tree.mass, nodes))


@dataclass(frozen=True)
class EasyLaw:
    """The distribution of easy draws, the same for all rows."""

    proposal: Proposal  # distribution over the catalogue, whose arrays may be padded
    num_items: int  # size of the catalogue

    def draw(self, key: jax.Array, batch: Batch, shape: tuple[int, ...]) -> jax.Array:
        """Independent draws of a shape, whose first axis is that of the rows."""
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


@dataclass(frozen=True)
class KnownLaw(EasyLaw):
    """Easy draws that each row restricts to the items known at its moment."""

    tree: MassTree  # sums of the proposal in the order of first events
    number: Any  # [n] int32 number of items known at each training positive

    def draw(self, key: jax.Array, batch: Batch, shape: tuple[int, ...]) -> jax.Array:
        """Independent draws of a shape, whose first axis is that of the rows."""
        number = take_rows(self.number, batch.rows)
        number = number.reshape(-1, *[1] * (len(shape) - 1))
        return sample_known(key, self.tree, number, shape)

    def log_mass(self, batch: Batch) -> jax.Array:
        """Log of the mass of the items that each row knows, [B]."""
        return log_known_mass(self.tree, take_rows(self.number, batch.rows))

    def count(
        self, batch: Batch, draws: jax.Array, group: tuple[jax.Array, ...] = ()
    ) -> ByItem:
        """An item that a row knows is expected m q_j / Q times."""
        of_row = group[0] if group else jnp.zeros(batch.size, int)
        draws = jnp.atleast_1d(draws)[of_row] * jnp.exp(-self.log_mass(batch))
        every = jnp.arange(batch.size, dtype=jnp.int32)
        return ByItem(id(self.proposal), self.log_q, draws, (every,))


@dataclass(frozen=True)
class Easy(Source):
    """Easy draws that all rows share: m columns."""

    law: EasyLaw  # distribution of a draw
    num: int  # number m of draws
    on: tuple[jax.Array, ...] = ()  # [] chance that a draw counts, () for 1

    def draw(self, memory: dict, key: Keys, batch: Batch) -> Shared:
        """Draws [m]; num_items for one that does not count."""
        law, shape = self.law, (self.num,)
        items = sample(key("negatives.easy"), law.proposal, shape, law.num_items)
        for chance in self.on:
            counts = jax.random.uniform(key("negatives.switch"), shape) < chance
            items = jnp.where(counts, items, law.num_items)
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
    """Source of uniform draws from the catalogue per batch, shared by all rows."""
    proposal = make_proposal("uniform", np.zeros(num_items))
    return Easy(EasyLaw(proposal, num_items), num)


def popular_negatives(num: int, clicks: np.ndarray, alpha: float = 0.75) -> Easy:
    """Source of draws by (clicks [num_items] + 1)^alpha, shared by all rows."""
    proposal = make_proposal("popularity", clicks, alpha=alpha)
    return Easy(EasyLaw(proposal, len(clicks)), num)
