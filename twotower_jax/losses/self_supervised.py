"""The self-supervised loss of items: one view of an item against views of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.losses.term import Items, ItemTerm, TermData
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from twotower_jax.losses import blockwise, logits
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")
    blockwise = Lazy("twotower_jax.losses.blockwise")
    logits = Lazy("twotower_jax.losses.logits")


def _has_weight(values: Mapping[str, Any]) -> bool:
    return values["loss.self_supervised.weight"] > 0


@dataclass(unsafe_hash=True)
class SelfSupervised(ItemTerm):
    """The softmax from one view of an item to the other, on uniform items.

    For items i and j of the step, with embeddings z of the first and z' of the second
    views,

      L = -1/N sum_i log [ e^{c_ii / tau} / sum_j e^{c_ij / tau} ]

    with c_ij = cos(z_i, z'_j); j runs over i itself and the draws of other items.

    References:
      Yao et al., Self-supervised learning for large-scale item recommendations, CIKM
      2021, eq. 2 (random feature masking in two exclusive sets; items drawn uniformly,
      other than the clicked items of the main loss).
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
        """Uniform items twice, first with one half of the features, then the other.

        All items of a step are divided alike, so that two items never differ in which
        of their features are missing.
        """
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
        zeros, none = jnp.zeros(rows, jnp.float32), jnp.zeros((rows, 0), jnp.float32)
        place = jnp.arange(rows, dtype=jnp.int32)
        return blockwise.softmax_loss(
            logits.Scores(first, second, (first * second).sum(axis=1), none),
            logits.ColumnTerms(zeros, zeros[None, :], items, (place,)),
            logits.RowTerms(
                weight=jnp.full(rows, 1 / rows, jnp.float32),
                key=items,
                own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
                own_log_count=zeros,
                slots=logits.PairTerms(none, none),
            ),
        )
