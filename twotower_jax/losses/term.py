"""A further term of a loss, which is trained together with that of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from twotower_jax.registry import check_keys

if TYPE_CHECKING:
    import jax

    from twotower_jax.losses.logits import RowTerms, Scores


@dataclass(unsafe_hash=True)
class Term:
    """A term that is added to the loss of the rows, times its weight.

    A subclass stands in one file with its keys, one of which is ``weight``. A loss has
    the term where it has a field of this type. In a step its numbers are arrays.

    Class attributes:
      name: of the field.
    """

    name: ClassVar[str] = ""
    weight: float = 0.0

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, f"loss.{self.name}")

    def check(self, config: Any) -> None:
        """Refuse a combination with other sections that cannot work; of a weight > 0.

        Args:
          config: the whole configuration.
        """

    def prepare(self, data: TermData) -> dict[str, Any]:
        """Arrays of the training data that the term reads in a step.

        Each becomes an attribute of the term there.

        Returns:
          {attribute: arrays of the host}.
        """
        return {}

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """The term of a batch, from its scores.

        Args:
          context: of the batch: ``batch``, its ``draws``, the static ``negatives``, the
            ``masks`` of rows and the ``weight`` [B] of each.
          scores: of the batch, before any correction.
          rows: corrections and masks of the rows, whose weights sum to 1.

        Returns:
          [] float32.
        """
        raise NotImplementedError


class TermData(NamedTuple):
    """What terms read of the training data.

    Attributes:
      features: names of the features of the item tower.
      log_q_user: [users] float32 log share of each user among the rows of an epoch.
    """

    features: tuple[str, ...]
    log_q_user: Any


class Items(NamedTuple):
    """Items that a term lets the item tower embed.

    Attributes:
      items: [N] int32.
      shown: [N, F] bool, features that the tower sees; the others are as missing.
    """

    items: Any
    shown: Any


@dataclass(unsafe_hash=True)
class ItemTerm(Term):
    """A term of the embeddings of items that it draws itself."""

    def draw(self, key: jax.Array, num_items: int, features: int) -> Items:
        """The items of a step.

        Args:
          key: of this term and step.
          num_items: size of the catalogue.
          features: number F of features of the item tower.
        """
        raise NotImplementedError

    def of_items(self, items: jax.Array, embeddings: jax.Array) -> jax.Array:
        """The term of a step, from the embeddings of its items.

        Args:
          items: [N] int32 items of `draw`.
          embeddings: [N, D] of the item tower, of length 1.

        Returns:
          [] float32.
        """
        raise NotImplementedError
