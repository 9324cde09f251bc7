"""Items that are known at a moment, and draws from them.

A log is a stream: an item does not exist before its first event. Items stand in the
order of their first events, so that those known at a moment are the first ones, a
prefix of this order. A proposal q restricted to a prefix is

  q_t(j) = q_j / Q(t), Q(t) = sum of q over the items known at t,

and 0 for the others. A binary tree over the order holds the sums of q below each node;
a walk from its root to a leaf draws from the proposal restricted to any prefix. Only
sums and ratios of positive numbers are taken, so that the probability of every item is
right to float32 rounding, however small it is.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.shards import spread_batch, take
from twotower_jax.negatives.proposals import Proposal, fine_uniform


@dataclass(frozen=True)
class MassTree:
    """Sums of a proposal over the nodes of a binary tree.

    Both arrays may be spread over devices like tables.

    Attributes:
      mass: [2 P] float32, P a power of 2: the root is 1, the children of node i are
        2 i and 2 i + 1, and the leaf of place k is P + k. Place 0 is not used.
      item: [num_items] int32 items in the order of first events.
      leaves: P; spread arrays have padding behind their ends.
    """

    mass: Any
    item: Any
    leaves: int


jax.tree_util.register_dataclass(
    MassTree, data_fields=["mass", "item"], meta_fields=["leaves"]
)


def mass_tree(proposal: Proposal, place: np.ndarray) -> MassTree:
    """The sums of a proposal in the order of first events."""
    return jax.tree.map(jnp.asarray, host_mass_tree(proposal, place))


def host_mass_tree(proposal: Proposal, place: np.ndarray) -> MassTree:
    """The sums of a proposal, in arrays of numpy."""
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
    """Log of Q: the probability that a draw from the whole proposal is a known item.

    Args:
      number: [...] int32 number of known items, at least 1; on a mesh the first axis
        is that of a batch.

    Returns:
      [...] float32.

    Examples:
      >>> from twotower_jax.negatives.proposals import from_weights
      >>> tree = mass_tree(from_weights(np.array([2.0, 1.0, 1.0])), np.arange(3))
      >>> jnp.exp(log_known_mass(tree, jnp.arange(1, 4))).tolist()
      [0.5, 0.75, 1.0]
    """
    root = jnp.ones_like(number)
    return jnp.log(_boundary(tree, number)[-1]) - jnp.log(_masses(tree, root))


def sample_known(
    key: jax.Array, tree: MassTree, number: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """Independent draws from the proposal restricted to known items.

    Args:
      number: int32 number of known items, at least 1; broadcasts to the shape.
      shape: of the draws; on a mesh the first axis is that of a batch.

    Returns:
      Item ids of the given shape, int32.

    Examples:
      >>> from twotower_jax.negatives.proposals import from_weights
      >>> proposal = from_weights(np.array([1.0, 1.0, 9.0]))
      >>> tree = mass_tree(proposal, np.array([2, 0, 1]))
      >>> sample_known(jax.random.key(0), tree, jnp.array(1), (3,)).tolist()
      [1, 1, 1]
    """
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
