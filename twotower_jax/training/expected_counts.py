"""Expected counts: how many times an item is expected as a negative of a row.

logQ subtracts the log of the expected count of the row's whole mixture of sources,
N_j(u) = (n - 1 + M) q+_j + m q^E_j + h pi_u(j): n - 1 other rows of the batch, M
entries of the bank, m easy draws and h hard ones.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.sampling import bank as banks
from twotower_jax.sampling.hard import hard_log_prob
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import Proposal, log_prob
from twotower_jax.training.draws import Draws, RowGroups
from twotower_jax.training.log_q import (
    CORRECTIONS,
    HARD_LOG_Q,
    log_in_others,
    log_q_plus,
)
from twotower_jax.training.own_rows import other_rows, own_items
from twotower_jax.training.slots import RowPools
from twotower_jax.training.types import Program, TrainState


class Source(NamedTuple):
    """One source of negatives, for some items.

    Attributes:
      log_q: [...] log probability that a draw is the item; -inf for never.
      draws: Expected draws of a row, a number or an array that broadcasts.
    """

    log_q: jax.Array
    draws: jax.Array | int


class Mixture(NamedTuple):
    """All sources of the negatives of a batch.

    Attributes:
      num_items: Size of the catalogue.
      easy: Proposal of the easy draws.
      log_q_plus: Function from items to their log q+; None where neither the batch nor
        a bank is a source.
      in_batch: Number of other rows of the batch, whose positives are columns; or 0.
        Of sequences end to end, the mean number of rows of other sequences.
      log_once: Function from items to the log probability that one of these rows has
        it; None where an item counts for every row that has it.
      banked: [] number of entries of the bank that are columns.
      easy_draws: [G] expected easy draws of a row by group. Where they are restricted
        to known items, over the mass Q of these.
      hard_draws: [] expected hard draws of a row with a pool.
      of_row: Group of each row [B] int32, or None where all rows are alike (G = 1).
      pool: Pools of the hard draws; None where they are not counted by their pools.
      own: Items of the other rows of each row's sequence, with the log of their number;
        None where they are not columns.
    """

    num_items: int
    easy: Proposal
    log_q_plus: Callable[[jax.Array], jax.Array] | None
    in_batch: int | jax.Array
    log_once: Callable[[jax.Array], jax.Array] | None
    banked: jax.Array
    easy_draws: jax.Array
    hard_draws: jax.Array
    of_row: jax.Array | None
    pool: RowPools | None
    own: RowPools | None = None


def easy_source(mixture: Mixture, items: jax.Array, draws: jax.Array) -> Source:
    """Easy draws of a row: m draws from q^E.

    Args:
      items: [...] int32.
    """
    return Source(log_prob(mixture.easy, items), draws)


def batch_sources(
    mixture: Mixture, items: jax.Array, banked: jax.Array | int
) -> list[Source]:
    """Positives of other rows, of this batch or of earlier ones: draws from q+.

    Args:
      items: [...] int32.
    """
    if mixture.log_q_plus is None:
        return []
    log_q = mixture.log_q_plus(items)
    if mixture.log_once is None:
        return [Source(log_q, mixture.in_batch + banked)]
    return [Source(mixture.log_once(items), 1), Source(log_q, banked)]


def pool_sources(mixture: Mixture, items: jax.Array) -> list[Source]:
    """Hard draws of the rows: h draws from the pool pi_u of each.

    Args:
      items: [B, K] int32 items in rows.
    """
    if mixture.pool is None:
        return []
    log_q = hard_log_prob(mixture.pool.item, mixture.pool.log_prob, items)
    return [Source(log_q, mixture.hard_draws)]


def own_sources(mixture: Mixture, items: jax.Array) -> list[Source]:
    """Other rows of each row's sequence, which stand in the batch for certain.

    Args:
      items: [B, K] int32 items in rows.
    """
    own = mixture.own
    if own is None:
        return []
    return [Source(hard_log_prob(own.item, own.log_prob, items), 1)]


def bank_source(mixture: Mixture, bank: banks.Bank) -> Source:
    """Entries of the bank: draws from the q+ of the time when they were put in.

    Returns:
      The source of the items [1, M] of the entries.
    """
    return Source(bank.log_q[None, :], mixture.banked)


def used_entries(program: Program, state: TrainState) -> jax.Array:
    """Number of bank entries that are columns; 0 until the warm-up is over.

    Returns:
      [] number of entries.
    """
    if "bank" not in state.samplers:
        return jnp.float32(0)
    warm = state.step >= program.hyper.bank_warmup
    return jnp.where(warm, banks.filled(state.samplers["bank"]), 0)


def negative_mixture(
    program: Program, state: TrainState, draws: Draws, batch_size: int
) -> Mixture | None:
    """All sources of the negatives of a batch.

    Returns:
      The mixture, or None where no negative is corrected.
    """
    structure = program.structure
    if not CORRECTIONS[structure.correct].negatives or structure.loss.whole_catalogue:
        return None
    negatives, log_q = structure.negatives, HARD_LOG_Q[structure.negatives.log_q]
    groups = draws.groups
    if log_q.as_easy:
        # Every row has the same number of easy and hard draws together.
        groups = RowGroups((groups.easy + groups.hard)[:1], groups.hard[:1])
    easy_draws, of_row = _restricted(groups, draws.log_mass)
    of_batch = None
    if negatives.in_batch or negatives.bank:
        of_batch = partial(log_q_plus, program, state, batch_size)
    others = other_rows(draws.own, batch_size)
    log_once = partial(log_in_others, program, state, batch_size, others=others)
    return Mixture(
        num_items=structure.num_items,
        easy=program.hyper.easy,
        log_q_plus=of_batch,
        in_batch=others if negatives.in_batch else 0,
        log_once=log_once if negatives.distinct else None,
        banked=used_entries(program, state),
        easy_draws=easy_draws,
        hard_draws=groups.hard[0],
        of_row=of_row,
        pool=draws.slots.pool if draws.slots is not None and log_q.of_pool else None,
        own=own_items(draws.own, log_once if negatives.distinct else None),
    )


def _restricted(
    groups: RowGroups, log_mass: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    """Return the expected easy draws by group over the mass Q, and the group of rows.

    An item j that the row knows is expected m q_j / Q times. With masses of their own
    rows are groups of their own.
    """
    easy, of_row = groups.easy, groups.of_row
    if log_mass is None:
        return easy, of_row
    easy = easy[jnp.zeros(log_mass.shape, int) if of_row is None else of_row]
    return easy * jnp.exp(-log_mass), jnp.arange(log_mass.shape[0], dtype=jnp.int32)


def column_counts(mixture: Mixture | None, items: jax.Array) -> jax.Array:
    """Log expected counts of columns in each group of rows, without the rows' pools.

    Args:
      mixture: All sources; None: nothing is corrected.
      items: [C] int32; padding has the count of any item.

    Returns:
      [G, C] float32.
    """
    if mixture is None:
        return jnp.zeros((1, items.shape[0]), jnp.float32)
    items = _clip(mixture, items[None, :])
    return log_expected_count(
        easy_source(mixture, items, mixture.easy_draws[:, None]),
        *batch_sources(mixture, items, mixture.banked),
    )


def bank_counts(mixture: Mixture | None, bank: banks.Bank) -> jax.Array:
    """Log expected counts of bank entries in each group of rows.

    Args:
      mixture: All sources; None: nothing is corrected.

    Returns:
      [G, M] float32.
    """
    if mixture is None:
        return jnp.zeros((1, bank.item.shape[0]), jnp.float32)
    items = _clip(mixture, bank.item[None, :])
    return log_expected_count(
        easy_source(mixture, items, mixture.easy_draws[:, None]),
        *batch_sources(mixture, items, 0),
        bank_source(mixture, bank),
    )


def row_counts(mixture: Mixture | None, items: jax.Array) -> jax.Array:
    """Log expected counts of items in their rows, with the rows' pools.

    Args:
      mixture: All sources; None: nothing is corrected.
      items: [B, K] int32; padding has the count of any item.

    Returns:
      [B, K] float32.
    """
    if mixture is None:
        return jnp.zeros(items.shape, jnp.float32)
    clipped, easy = _clip(mixture, items), mixture.easy_draws
    easy = easy if mixture.of_row is None else easy[mixture.of_row]
    return log_expected_count(
        easy_source(mixture, clipped, easy[:, None]),
        *batch_sources(mixture, clipped, mixture.banked),
        *pool_sources(mixture, items),
        *own_sources(mixture, items),
    )


def _clip(mixture: Mixture, items: jax.Array) -> jax.Array:
    """Return the items with the last one in place of padding."""
    return jnp.minimum(items, mixture.num_items - 1)
