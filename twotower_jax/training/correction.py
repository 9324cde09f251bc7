"""Masks and log q of a batch: what the sweep knows of columns, slots and rows.

Order of a logit: score / temperature, minus the log of the expected count of the item
in its row (logQ), mask, loss. The expected count is that of the row's whole mixture,
N_j(u) = (n - 1 + M) q+_j + m q^E_j + h pi_u(j), of in-batch and bank, easy and hard.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.blockwise import Rows, Shared
from twotower_jax.losses.rowwise import WHOLE_CATALOGUE
from twotower_jax.sampling import bank as banks
from twotower_jax.sampling import frequency
from twotower_jax.sampling.columns import Columns
from twotower_jax.sampling.hard import hard_log_prob
from twotower_jax.sampling.masks import contains, seen_places
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import log_prob
from twotower_jax.training.draws import Draws
from twotower_jax.training.types import Hyper, Structure, TrainData, TrainState

LogQ = Callable[[jax.Array], jax.Array]


class Terms(NamedTuple):
    """What is added to scores: for the sweep, and for the positive [B]."""

    shared: Shared
    rows: Rows
    positive: jax.Array


def log_q_plus(structure: Structure, hyper: Hyper, state: TrainState, batch: int):
    """Return the function from items to their log q+, counted or streamed."""
    if structure.frequency == "streaming":
        seen = state.samplers["frequency"]
        return lambda ids: frequency.log_q(seen, ids, batch)
    return lambda ids: hyper.log_q_batch[ids]


def batch_terms(
    structure: Structure,
    hyper: Hyper,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
    draws: Draws,
    columns: Columns,
) -> Terms:
    """Return masks and corrections of the rows [B] against columns and slots.

    Args:
      structure, hyper, data, state, rows: as of the step.
      draws: the negatives.
      columns: of the draws, all of them or the first ones.
    """
    items = data.item[rows]
    counts = _Counts(structure, hyper, state, draws, items.shape[0])
    bank = state.samplers.get("bank")
    ids = columns.encode_ids[: columns.log_mult.shape[0]]
    shared = Shared(columns.log_mult, counts.of_columns(ids), columns.key)
    if bank is not None:
        ids = jnp.concatenate([ids, bank.item])
        shared = _with_bank(shared, structure, counts, bank)
    own = counts.of_rows(items[:, None])[:, 0]
    weight = jnp.ones(items.shape, jnp.float32)
    if structure.reweight:
        assert hyper.positive_weight is not None
        weight = hyper.positive_weight[items]
    terms = Rows(
        weight / weight.sum(),
        columns.row_key,
        columns.own_log_mult,
        own,
        draws.group if counts.by_group else None,
    )
    shared, terms = _with_places(structure, data, rows, counts, ids, shared, terms)
    if draws.slots is not None:
        terms = _with_slots(structure, data, rows, draws, counts, terms)
    positive = -own if structure.correct == "all" else jnp.zeros_like(own)
    return Terms(shared, terms, positive)


class _Counts:
    """Expected counts of items as negatives of the rows, in logs."""

    def __init__(self, structure, hyper, state, draws, batch):
        self.structure, self.hyper, self.draws = structure, hyper, draws
        self.off = structure.correct == "none" or structure.loss in WHOLE_CATALOGUE
        wanted = structure.negatives
        self.log_q_plus: LogQ = log_q_plus(structure, hyper, state, batch)
        self.in_batch = batch - 1 if wanted.in_batch else 0
        self.banked = jnp.float32(0)
        if "bank" in state.samplers:
            used = state.step >= hyper.bank_warmup
            self.banked = jnp.where(used, banks.filled(state.samplers["bank"]), 0)
        self.easy, self.hard = draws.easy_draws, draws.hard_draws
        if wanted.log_q == "easy":
            # As if the easy proposal had drawn the hard slots too: the same for all.
            self.easy = (self.easy + self.hard)[:1]
        self.by_group = not self.off and self.easy.shape[0] > 1
        self.pools = draws.pools if wanted.pools_count and not self.off else None

    def _base(self, ids: jax.Array, easy: jax.Array) -> jax.Array:
        """Return log [(n - 1 + M) q+ + m q^E] of ids; padding is taken as any item."""
        if self.off:
            return jnp.zeros(jnp.broadcast_shapes(ids.shape, easy.shape), jnp.float32)
        known = jnp.minimum(ids, self.structure.num_items - 1)
        sources = [(log_prob(self.hyper.easy, known), easy)]
        if self.structure.negatives.in_batch or self.structure.negatives.bank:
            sources.append((self.log_q_plus(known), self.in_batch + self.banked))
        return log_expected_count(*sources)

    def of_columns(self, ids: jax.Array) -> jax.Array:
        """Return the counts [G, C] without the row's pool."""
        easy = self.easy if self.by_group else self.easy[:1]
        return self._base(ids[None, :], easy[:, None])

    def of_rows(self, ids: jax.Array) -> jax.Array:
        """Return the whole counts of ids [B, K] in their rows."""
        easy = self.easy[:1, None]
        if self.by_group:
            assert self.draws.group is not None
            easy = self.easy[self.draws.group][:, None]
        base = self._base(ids, easy)
        if self.pools is None:
            return base
        in_pool = hard_log_prob(self.pools.item, self.pools.log_prob, ids)
        return jnp.logaddexp(base, in_pool + jnp.log(self.hard[0]))

    def of_bank(self, bank: banks.Bank) -> jax.Array:
        """Return the counts [G, M] of bank entries, by log q of their time."""
        easy = self.easy if self.by_group else self.easy[:1]
        if self.off:
            return jnp.zeros((easy.shape[0], bank.item.shape[0]), jnp.float32)
        known = jnp.minimum(bank.item, self.structure.num_items - 1)
        return log_expected_count(
            (log_prob(self.hyper.easy, known)[None, :], easy[:, None]),
            (self.log_q_plus(known)[None, :], self.in_batch),
            (bank.log_q[None, :], self.banked),
        )


def _with_bank(shared: Shared, structure, counts: _Counts, bank) -> Shared:
    """Return the columns followed by the entries of the bank."""
    used = (bank.item < structure.num_items) & (counts.banked > 0)
    key = bank.item
    if structure.negatives.mask == "none":
        key = jnp.full_like(key, -2)
    return Shared(
        jnp.concatenate([shared.log_mult, jnp.where(used, 0.0, -jnp.inf)]),
        jnp.concatenate([shared.log_count, counts.of_bank(bank)], axis=1),
        jnp.concatenate([shared.key, key]),
    )


def _with_places(structure, data, rows, counts, ids, shared, terms):
    """Add what depends on row and column: pools, and users' other positives."""
    masks = structure.negatives.mask == "user_positives"
    if not ids.shape[0] or (counts.pools is None and not masks):
        return shared, terms
    distinct, place = jnp.unique(
        ids,
        size=ids.shape[0],
        fill_value=structure.num_items + 1,
        return_inverse=True,
    )
    shared = shared._replace(place=place.reshape(-1).astype(jnp.int32))
    if masks:
        assert data.positives is not None
        seen = seen_places(data.positives, data.queries.user[rows], distinct)
        terms = terms._replace(seen=seen)
    if counts.pools is not None:
        item = counts.pools.item
        found = jnp.minimum(jnp.searchsorted(distinct, item), ids.shape[0] - 1)
        known = (distinct[found] == item) & (item < structure.num_items)
        terms = terms._replace(
            pool_place=jnp.where(known, found, ids.shape[0]).astype(jnp.int32),
            pool_log_count=counts.pools.log_prob + jnp.log(counts.hard[0]),
        )
    return shared, terms


def _with_slots(structure, data, rows, draws, counts, terms: Rows) -> Rows:
    slots, wanted = draws.slots, structure.negatives
    out = slots >= structure.num_items
    if wanted.mask != "none":
        out |= slots == data.item[rows][:, None]
    if wanted.mask == "user_positives":
        out |= contains(data.positives, data.queries.user[rows], slots)
    log_count = counts.of_rows(slots)
    if wanted.log_q == "none":
        log_count = jnp.where(draws.is_hard, 0, log_count)
    return terms._replace(
        slot_log_mult=jnp.where(out, -jnp.inf, 0.0),
        slot_log_count=jnp.where(out, 0, log_count),
    )
