"""The softmax over the users of a batch for each item, beside that over the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.losses.term import Term, TermData
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from twotower_jax.data import shards
    from twotower_jax.losses import blockwise, logits
    from twotower_jax.losses.logits import RowTerms, Scores
    from twotower_jax.negatives import masks
else:
    jnp = Lazy("jax.numpy")
    shards = Lazy("twotower_jax.data.shards")
    blockwise = Lazy("twotower_jax.losses.blockwise")
    logits = Lazy("twotower_jax.losses.logits")
    masks = Lazy("twotower_jax.negatives.masks")


@dataclass(unsafe_hash=True)
class TwoWay(Term):
    """The softmax over the users of a batch for each item.

    For row b with user u_b and item i_b and its n - 1 other users,

      -log [ e^{s(u_b, i_b)} / (e^{s(u_b, i_b)} + sum_c e^{s(u_c, i_b)}) ].

    With the users' shares q_u of the rows, log (n - 1) q_u is subtracted from each
    score, that of the row too. Uncorrected users follow q_u, so that the optimum
    log [P(u, i) / q_u] plus a constant per item holds at s = log P(i | u), that of the
    softmax over items. Corrected, it holds at log P(u, i) = log P(i | u) + log P(u).
    Both rank the items of a user alike.

    ``negatives.mask`` masks here: the row alone (none), all rows of its user
    (same_item), and users that clicked the item too (user_positives).

    References:
      Radford et al., Learning transferable visual models from natural language
      supervision, ICML 2021 (symmetric loss over both sides of a batch).
    """

    name: ClassVar[str] = "two_way"
    # ([users] log share of a user among the rows,), set where users are corrected.
    log_q_user: ClassVar[tuple[Any, ...]] = ()
    weight: float = key(
        0.0,
        low=0,
        doc="weight of the softmax over the users of the batch for each item; 0: none",
        example="loss.two_way.weight=1",
    )
    correct: str = key(
        "none",
        choices=("none", "users"),
        decides=lambda values: values["loss.two_way.weight"] > 0,
        doc="correction of that softmax; users: by their shares of the positives",
        example="loss.two_way.weight=1 loss.two_way.correct=users",
    )

    def check(self, config: Any) -> None:
        """Refuse a softmax without the users of a batch."""
        if not config.negatives.in_batch:
            raise InputError(
                f"loss.two_way.weight={self.weight} compares the users of a batch for "
                "each item, but negatives.in_batch=false; set it to true, or "
                "loss.two_way.weight=0"
            )

    def prepare(self, data: TermData) -> dict[str, Any]:
        """Return the log shares of the users, where they are corrected."""
        return {"log_q_user": (data.log_q_user,)} if self.correct == "users" else {}

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """Weighted mean of the losses of the items of a batch, [] float32."""
        batch = context.batch
        users, number = batch.queries.user, batch.size
        place = jnp.arange(number, dtype=jnp.int32)
        key = users if context.masks.same_item else place
        zeros, log_count = (jnp.zeros(number, jnp.float32) for _ in range(2))
        for of_user in self.log_q_user:
            log_q = shards.take_rows(of_user, users)
            log_count = log_q + jnp.log(jnp.float32(number - 1))
        every = jnp.broadcast_to(batch.items, (number, number))
        positives = context.masks.positives
        none = jnp.zeros((number, 0), jnp.float32)
        items = scores.columns[context.draws.columns.positive]
        return blockwise.softmax_loss(
            logits.Scores(items, scores.query, scores.positive - log_count, none),
            logits.ColumnTerms(zeros, log_count[None, :], key, (place,)),
            logits.RowTerms(
                weight=context.weight,
                key=key,
                own_log_mult=jnp.full(number, -jnp.inf, jnp.float32),
                own_log_count=zeros,
                slots=logits.PairTerms(none, none),
                seen=tuple(masks.contains(one, users, every).T for one in positives),
            ),
        )
