"""The base of all losses: what the training asks of a loss, and the keys they share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from twotower_jax.errors import InputError
from twotower_jax.lazy import jax, jnp
from twotower_jax.losses.terms import SelfSupervised, StagePairs, Term
from twotower_jax.registry import Choice, Choices, key, keys_of, section


class Odds(NamedTuple):
    """Balance of a pointwise loss."""

    negatives: int  # per positive
    share: float  # odds of a positive


# --- when the keys have an effect, given all values by dotted key ---------------------


def _corrects(values: Mapping[str, Any]) -> bool:
    return values.get("loss.logq.correct", "none") != "none"


def _counts_positives(values: Mapping[str, Any]) -> bool:
    return _corrects(values) and values["negatives.in_batch"]


def _learns(values: Mapping[str, Any]) -> bool:
    return bool(values.get("loss.learn_temperature"))


@keys_of("loss.logq.streaming", words="loss.logq.frequency=streaming")
class StreamingConfig:
    """The streaming estimator of item frequencies (negatives/frequency.py)."""

    buckets: int | None = key(
        None,
        low=1,
        doc="buckets per hash; null: four per item of the catalogue",
        example="100000",
    )
    hashes: int = key(
        2, low=1, high=16, doc="number of hashes, each with its own buckets"
    )
    alpha: float = key(
        0.01,
        low=0,
        high=1,
        doc="weight of the last gap in the moving mean of an item's gaps",
    )
    initial_gap: float = key(
        100.0, low=1, doc="gap in steps of an item that was not seen yet"
    )


@keys_of("loss.logq")
class LogqConfig:
    """Correction by the log of the expected count of a candidate in the row."""

    correct: str = key(
        "all",
        choices=("none", "all", "negatives"),
        doc="logits that are corrected; all: the positive too",
        example="none",
    )
    frequency: str = key(
        "counts",
        choices=("counts", "streaming"),
        decides=_counts_positives,
        doc="origin of the frequencies of positives: exact counts, or the stream",
        example="streaming",
    )
    strength: float = key(
        1.0,
        low=0,
        high=1,
        decides=_corrects,
        doc="factor of the log of the expected count; 1: the whole correction",
    )
    streaming: StreamingConfig = section(
        StreamingConfig,
        decides=lambda values: (
            _counts_positives(values) and values["loss.logq.frequency"] == "streaming"
        ),
    )

    def __post_init__(self) -> None:
        if self.strength < 1 and self.correct == "none":
            raise InputError(
                f"loss.logq.strength={self.strength} has no use with loss.logq.correct="
                "none, which subtracts no log q; set loss.logq.correct=all or negatives"
                ", or loss.logq.strength=1"
            )


def temperature_key(default: float) -> float:
    """The key of a temperature, with the default of a loss."""
    return key(
        default,
        above=0,
        doc="divides the scores in training, such as a cosine in [-1, 1]; "
        "serving does not use it",
        example=f"{default / 2:g}",
    )


LOSSES: Choices[Loss] = Choices("loss.name")


@dataclass(unsafe_hash=True)
class Loss(Choice):
    """A loss of one positive and any number of negatives per row.

    A subclass is a choice of ``loss=``: it has its keys as fields, and a `formula` or
    `of_rows`, and is registered by ``@LOSSES.add``.
    """

    choices: ClassVar[Choices[Loss]] = LOSSES
    # function of the arguments of `of_rows`; its keyword arguments are keys
    formula: ClassVar[Callable[..., Any]]
    whole_catalogue: ClassVar[bool] = False  # whether the negatives are every item
    # whether `blockwise.softmax_loss` computes its gradient; for other losses JAX
    # differentiates `of_rows`
    softmax_pass: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False  # whether a constant added to all scores counts
    # whether log q weighs the negatives by one over their expected counts; otherwise it
    # is subtracted from their logits
    importance: ClassVar[bool] = False
    bounded: ClassVar[bool] = False  # whether it needs scores with bounds: cosines
    # whether rows are weighed by how far positives are above the user's k-th best score
    weighs_rows: ClassVar[bool] = False
    num_items: ClassVar[Any] = 0.0  # size of the catalogue, set by the training
    at_k: ClassVar[Any] = None  # the section with the rank, where `weighs_rows`
    # What a loss without the key has; not annotated, so that it is no field. In a loss
    # of cosines the temperature cancels.
    temperature = 0.14
    learn_temperature = False
    temperature_rate = 0.001
    temperature_min: ClassVar[float | None] = None
    temperature_max = 1.0
    decoupled = False
    activation = ""
    negative_weight = 1.0
    logq = LogqConfig(correct="none")

    name: str = ""
    self_supervised: SelfSupervised = field(default_factory=SelfSupervised)

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, [batch] float32, unreduced.

        The fields of the choice are numbers or arrays, and ``temperature`` that of the
        logits.

        Args:
          positive: [batch] float, logit of the positive: cosine over temperature.
          negatives: [batch, columns] float, logits, corrected unless ``importance``.
          weight: [batch, columns] float, draws that a negative stands for; 0 masks it.
        """
        names = list(inspect.signature(self.formula).parameters)[3:]
        keys = {name: getattr(self, name) for name in names}
        return self.formula(positive, negatives, weight, **keys)

    def odds(self, drawn: int, num_items: int) -> Odds | None:
        """Balance that a constant of the logits would hold; None without such a key."""
        return None

    @property
    def lowest_temperature(self) -> float:
        """Lowest value of a learned temperature."""
        return self.temperature_min or self.temperature

    def check(self, config: Any) -> None:
        """Refuse a combination with other sections that cannot work."""
        for term in self.terms():
            term.check(config)

    def terms(self) -> tuple[Term, ...]:
        """Further terms of the loss: those of its fields that have a weight."""
        fields = vars(self).values()
        return tuple(term for term in fields if isinstance(term, Term) and term.weight)

    def check_towers(self, towers: Any) -> None:
        """Refuse a section ``towers`` whose scores the loss cannot use.

        Not a part of `check`: the optimum of an arm is computed with free scores.
        """
        if self.bounded:
            check_cosines(f"loss.name={self.name}", towers)


@dataclass(unsafe_hash=True)
class SampledLoss(Loss):
    """Base of the losses of drawn negatives."""

    stage_pairs: StagePairs = field(default_factory=StagePairs)
    logq: LogqConfig = field(default_factory=lambda: LogqConfig(correct="none"))


@dataclass(unsafe_hash=True)
class Tempered(Loss):
    """Base of the losses of logits whose temperature may be learned."""

    temperature: float = temperature_key(0.14)
    learn_temperature: bool = key(
        False, doc="learn the temperature by the training loss, through its log"
    )
    temperature_rate: float = key(
        0.001,
        above=0,
        decides=_learns,
        doc="learned temperature: rate of its gradient descent",
        example="loss.learn_temperature=true loss.temperature_rate=0.01",
    )
    temperature_min: float | None = key(
        None,
        above=0,
        decides=_learns,
        doc="learned temperature: lowest value; null: its start, `loss.temperature`",
        example="loss.learn_temperature=true loss.temperature_min=0.05",
    )
    temperature_max: float = key(
        1.0,
        above=0,
        decides=_learns,
        doc="learned temperature: highest value",
        example="loss.learn_temperature=true loss.temperature_max=0.5",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.lowest_temperature, self.temperature_max
        if self.learn_temperature and not low <= self.temperature <= high:
            raise InputError(
                f"loss.temperature={self.temperature} starts a learned temperature "
                f"outside its bounds, loss.temperature_min={low} and "
                f"loss.temperature_max={high}; change one of the three"
            )


@dataclass(unsafe_hash=True)
class CosineLoss(SampledLoss):
    """Base of the losses of cosines, whose log q weighs the negatives."""

    importance: ClassVar[bool] = True
    bounded: ClassVar[bool] = True

    def check(self, config: Any) -> None:
        """Refuse a corrected positive."""
        super().check(config)
        if self.logq.correct == "all":
            raise InputError(
                "loss.logq.correct=all corrects the logit of the positive, but "
                f"loss.name={self.name} is a function of its cosine; set "
                "loss.logq.correct=negatives, which weighs the negatives, or none"
            )


def check_cosines(word: str, towers: Any) -> None:
    """Refuse towers whose scores have no bound, for a key that needs cosines."""
    if not towers.normalize:
        raise InputError(
            f"{word} needs cosines, which are bounded, but towers.normalize=false; set "
            "towers.normalize=true, or another loss"
        )


# --- sums over the weighted negatives of a row ----------------------------------------


def weights_of(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None
) -> jax.Array:
    """Return the weights [batch, columns] of the negatives, 1 where none are given."""
    if positive.shape != negatives.shape[:1]:
        raise ValueError(
            f"positive must be [batch] and negatives [batch, columns], got "
            f"{positive.shape} and {negatives.shape}"
        )
    return jnp.ones_like(negatives) if weight is None else weight


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Return sum w v / sum w of each row, [batch]; 0 where the weights sum to 0."""
    total = weight.sum(axis=1)
    return (weight * values).sum(axis=1) / jnp.where(total > 0, total, 1)


def negative_part(
    negatives: jax.Array, weight: jax.Array, ratio: jax.Array | float | None
) -> jax.Array:
    """Return -c sum_j w_j log sigmoid(-n_j) of each row, [batch], as in `bce`."""
    each, ratio = jax.nn.softplus(negatives), 0.0 if ratio is None else ratio
    counted = (weight * each).sum(axis=1)
    return jnp.where(ratio > 0, ratio * weighted_mean(each, weight), counted)


def log_sum(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return log sum_j e^{l_j} of each row, and whether any logit is above -inf."""
    filled = (logits > -jnp.inf).any(axis=1)
    total = jax.nn.logsumexp(jnp.where(filled[:, None], logits, 0), axis=1)
    return total * filled, filled
