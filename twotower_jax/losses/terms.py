"""Further terms of a loss, which are trained together with that of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twotower_jax.errors import InputError
from twotower_jax.lazy import Lazy, jax, jnp
from twotower_jax.losses.logits import (
    ColumnTerms,
    PairTerms,
    RowTerms,
    Scores,
    mask_at_or_above,
)
from twotower_jax.registry import check_keys, key

if TYPE_CHECKING:
    from twotower_jax.arrays import shards
    from twotower_jax.losses import blockwise
else:
    shards = Lazy("twotower_jax.arrays.shards")
    blockwise = Lazy("twotower_jax.losses.blockwise")


@dataclass(unsafe_hash=True)
class Term:
    """A term that is added to the loss of the rows, times its weight.

    A subclass holds its keys, one of which is ``weight``. A loss has the term where it
    has a field of this type. In a step its numbers are arrays.
    """

    name: ClassVar[str] = ""  # of the field
    weight: float = 0.0

    def __post_init__(self) -> None:
        check_keys(self, f"loss.{self.name}")

    def check(self, config: Any) -> None:
        """Refuse other sections with which a weight above 0 cannot work."""

    def prepare(self, data: TermData) -> dict[str, Any]:
        """Arrays of the host by the attributes that they become in a step."""
        return {}

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """The term of a batch from its scores before any correction, [] float32.

        The context has the ``batch``, its ``draws``, the static ``negatives``, the
        ``masks`` of rows and the ``weight`` [B] of each; weights of ``rows`` sum to 1.
        """
        raise NotImplementedError


class TermData(NamedTuple):
    """What terms read of the training data."""

    features: tuple[str, ...]  # names of the features of the item tower
    log_q_user: Any  # [users] float32 log share of each user among the rows of an epoch


class Items(NamedTuple):
    """Items that a term lets the item tower embed."""

    items: Any  # [N] int32
    shown: Any  # [N, F] bool, features that the tower sees; the others are as missing


@dataclass(unsafe_hash=True)
class ItemTerm(Term):
    """A term of the embeddings of items that it draws itself."""

    def draw(self, key: jax.Array, num_items: int, features: int) -> Items:
        """The items of a step, for an item tower of F features."""
        raise NotImplementedError

    def of_items(self, items: jax.Array, embeddings: jax.Array) -> jax.Array:
        """The term [] of drawn items [N] from their embeddings [N, D] of length 1."""
        raise NotImplementedError


def _softmax_of_pairs(
    rows: jax.Array,
    columns: jax.Array,
    positive: jax.Array,
    key: jax.Array,
    weight: jax.Array,
    log_count: jax.Array,
    seen: tuple[jax.Array, ...] = (),
) -> jax.Array:
    """Return the softmax of rows [n, D] over n columns, whose equal keys are masked."""
    number = key.shape[0]
    zeros, none = jnp.zeros(number, jnp.float32), jnp.zeros((number, 0), jnp.float32)
    place, masked = jnp.arange(number, dtype=jnp.int32), jnp.full_like(zeros, -jnp.inf)
    terms = RowTerms(weight, key, masked, zeros, PairTerms(none, none), seen=seen)
    return blockwise.softmax_loss(
        Scores(rows, columns, positive, none),
        ColumnTerms(zeros, log_count[None, :], key, (place,)),
        terms,
    )


@dataclass(unsafe_hash=True)
class StagePairs(Term):
    """The pairs of a row's slots from two stages of the log.

    With g_k the stage that rejected the item of slot k, later stages above earlier ones
    and easy slots below all, and with Z pairs in a row (0 for none),

      (1 / Z) sum_{k, l: g_k > g_l} log(1 + e^{s_l - s_k}).

    The scores are those of training over the temperature, without log q. Masked slots
    are in no pair; the loss itself has those of the positive.

    References:
      Liu et al., RecFlow: An industrial full flow recommendation dataset, ICLR 2025
      (FS-LTR: pairs of all stages, those with the positive among them).
    """

    name: ClassVar[str] = "stage_pairs"
    weight: float = key(
        0.0,
        low=0,
        doc="weight of the pairs of a row's slots from two stages of the log, the "
        "later stage above, easy slots below all; 0: none",
        example="negatives=hard loss.stage_pairs.weight=1",
    )

    def check(self, config: Any) -> None:
        """Refuse slots without stages."""
        source = config.negatives.hard
        if not (source.num and source.of_log):
            raise InputError(
                f"loss.stage_pairs.weight={self.weight} compares slots from stages of "
                f"the log, but negatives.hard.num={source.num} of negatives/hard="
                f"{source.source} has none; set negatives=hard, or "
                "loss.stage_pairs.weight=0"
            )

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """Mean over the rows, [] float32."""
        slots, negatives = context.draws.slots, context.negatives
        stage = slots.stages()
        # Where slots do not mix, the last ones alone are hard: others are below them.
        first = 0 if negatives.mixes else negatives.slots - negatives.hard_num
        raw = jax.lax.stop_gradient(scores.slots)
        terms = mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
        kept = terms > -jnp.inf
        above = stage[:, first:, None] > stage[:, None, :]
        above &= kept[:, first:, None] & kept[:, None, :]
        lead = scores.slots[:, first:, None] - scores.slots[:, None, :]
        pairs = jnp.where(above, jax.nn.softplus(-lead), 0).sum(axis=(1, 2))
        each = pairs / jnp.maximum(above.sum(axis=(1, 2)), 1)
        return (rows.weight * each).sum()


@dataclass(unsafe_hash=True)
class TwoWay(Term):
    """The softmax over the users of a batch for each item.

    For row b with user u_b and item i_b and its n - 1 other users,

      -log [ e^{s(u_b, i_b)} / (e^{s(u_b, i_b)} + sum_c e^{s(u_c, i_b)}) ].

    Uncorrected, the optimum is s = log P(i | u) plus a constant; with log (n - 1) q_u
    of the users' shares q_u subtracted from each score, log P(u, i). Both rank the
    items of a user alike. ``negatives.mask`` masks here: the row alone (none), all rows
    of its user (same_item), and users that clicked the item too (user_positives).

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
        every_row = jnp.arange(number, dtype=jnp.int32)
        key = users if context.masks.same_item else every_row
        log_count = jnp.zeros(number, jnp.float32)
        for of_user in self.log_q_user:
            log_q = shards.take_rows(of_user, users)
            log_count = log_q + jnp.log(jnp.float32(number - 1))
        every = jnp.broadcast_to(batch.items, (number, number))
        seen = tuple(mask.T for mask in context.masks.clicked(users, every))
        items = scores.columns[context.draws.columns.positive]
        vectors = (items, scores.query, scores.positive - log_count)
        return _softmax_of_pairs(*vectors, key, context.weight, log_count, seen)


def _has_weight(values: Mapping[str, Any]) -> bool:
    return values["loss.self_supervised.weight"] > 0


@dataclass(unsafe_hash=True)
class SelfSupervised(ItemTerm):
    """The softmax from one view of an item to the other, on uniform items.

    For items i and j of the step, with embeddings z of the first and z' of the second
    views, c_ij = cos(z_i, z'_j), and j over i itself and the draws of other items,

      L = -1/N sum_i log [ e^{c_ii / tau} / sum_j e^{c_ij / tau} ].

    References:
      Yao et al., Self-supervised learning for large-scale item recommendations, CIKM
      2021, eq. 2 (random feature masking in two exclusive sets; uniform items).
    """

    name: ClassVar[str] = "self_supervised"
    weight: float = key(
        0.0,
        low=0,
        doc="weight of the softmax between two views of an item, each of which shows "
        "half of its features; 0: none",
        example="loss.self_supervised.weight=0.1",
    )
    num: int = key(
        1024,
        low=2,
        decides=_has_weight,
        doc="items per step, drawn uniformly from the catalogue",
        example="loss.self_supervised.weight=0.1 loss.self_supervised.num=256",
    )
    temperature: float = key(
        0.1,
        above=0,
        decides=_has_weight,
        doc="divides the cosine of two views",
        example="loss.self_supervised.weight=0.1 loss.self_supervised.temperature=0.2",
    )

    def prepare(self, data: TermData) -> dict[str, Any]:
        """Refuse items of one feature, which have no two views."""
        if len(data.features) == 1:
            raise InputError(
                f"loss.self_supervised.weight={self.weight} divides the features of "
                f"an item into two views, but the item tower has one alone: "
                f"{data.features[0]}; name more in towers.candidate (data.items_path "
                "has them), or set loss.self_supervised.weight=0"
            )
        return {}

    def draw(self, key: jax.Array, num_items: int, features: int) -> Items:
        """Uniform items twice, one half of the features each, all divided alike."""
        of_items, of_features = jax.random.split(key)
        items = jax.random.randint(of_items, (self.num,), 0, num_items, jnp.int32)
        first = jax.random.permutation(of_features, features) < features // 2
        shown = jnp.repeat(jnp.stack([first, ~first]), self.num, axis=0)
        return Items(jnp.tile(items, 2), shown)

    def of_items(self, items: jax.Array, embeddings: jax.Array) -> jax.Array:
        """Mean softmax loss of the first views against the second, [] float32."""
        rows, items = self.num, items[: self.num]
        first, second = jnp.split(embeddings, 2)
        first = first / self.temperature
        weight, zeros = jnp.full(rows, 1 / rows, jnp.float32), jnp.zeros(rows)
        positive = (first * second).sum(axis=1)
        return _softmax_of_pairs(first, second, positive, items, weight, zeros)
