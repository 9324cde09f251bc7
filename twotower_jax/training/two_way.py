"""The softmax over the users of a batch for each item, beside that over the items."""

import jax
import jax.numpy as jnp

from twotower_jax.data.shards import take_rows
from twotower_jax.losses.blockwise import softmax_loss
from twotower_jax.losses.terms import ColumnTerms, PairTerms, RowTerms, Scores
from twotower_jax.sampling.masks import MASKS, contains
from twotower_jax.training.correction import row_weights
from twotower_jax.training.draws import Draws
from twotower_jax.training.types import Batch, Program, TrainData


def user_loss(
    program: Program, data: TrainData, batch: Batch, draws: Draws, scores: Scores
) -> jax.Array:
    """Weighted mean of the losses of the items of a batch against its users.

    For row b with user u_b and item i_b and its n - 1 other users,

      -log [ e^{s(u_b, i_b)} / (e^{s(u_b, i_b)} + sum_c e^{s(u_c, i_b)}) ].

    With the users' shares q_u of the rows, log (n - 1) q_u is subtracted from each
    score, that of the row too. Uncorrected users follow q_u, so that the optimum
    log [P(u, i) / q_u] plus a constant per item holds at s = log P(i | u), that of the
    softmax over items. Corrected, it holds at log P(u, i) = log P(i | u) + log P(u).
    Both rank the items of a user alike.

    ``negatives.mask`` masks here: the row alone (none), all rows of its user
    (same_item), and users that clicked the item too (user_positives).

    Returns:
      [] float32.

    References:
      Radford et al., Learning transferable visual models from natural language
      supervision, ICML 2021 (symmetric loss over both sides of a batch).
    """
    users, rows = batch.queries.user, batch.items.shape[0]
    place = jnp.arange(rows, dtype=jnp.int32)
    key = users if MASKS[program.structure.negatives.mask].same_item else place
    zeros, log_count = jnp.zeros(rows, jnp.float32), jnp.zeros(rows, jnp.float32)
    numbers = program.hyper.two_way
    if numbers is not None and numbers.log_q_user is not None:
        log_q = take_rows(numbers.log_q_user, users)
        log_count = log_q + jnp.log(jnp.float32(rows - 1))
    seen = None
    if data.positives is not None:
        every = jnp.broadcast_to(batch.items, (rows, rows))
        seen = contains(data.positives, users, every).T
    none = jnp.zeros((rows, 0), jnp.float32)
    items = scores.columns[draws.columns.positive]
    return softmax_loss(
        Scores(items, scores.query, scores.positive - log_count, none),
        ColumnTerms(zeros, log_count[None, :], key, place),
        RowTerms(
            weight=row_weights(program, data, batch),
            key=key,
            own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
            own_log_count=zeros,
            slots=PairTerms(none, none),
            seen=seen,
        ),
    )
