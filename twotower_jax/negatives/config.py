"""Section ``negatives``: the items that a positive is compared with.

The laws of easy draws and the sources of hard ones are choices of their own files.
"""

from collections.abc import Mapping
from typing import Any

from twotower_jax.errors import InputError
from twotower_jax.losses import LOSSES
from twotower_jax.negatives import Funnel, Hard, Resampled, Sampler, Uniform
from twotower_jax.negatives.funnel import parse_stage
from twotower_jax.negatives.hard import hard_negatives
from twotower_jax.negatives.samplers import has_slots
from twotower_jax.registry import key, keys_of, section

Values = Mapping[str, Any]

# --- when the keys have an effect, given all values by dotted key ---------------------


def whole_catalogue(values: Values) -> bool:
    """Whether the negatives of a row are all items, and none is drawn."""
    loss = LOSSES.get(values.get("loss.name", ""))
    return loss is not None and loss.whole_catalogue


def _draws(values: Values) -> bool:
    return not whole_catalogue(values)


def _schedules(values: Values) -> bool:
    hard = _draws(values) and hard_negatives(values)
    return hard and values["negatives.hard_start"] is not None


@keys_of("negatives.bank")
class BankConfig:
    """Cross-batch negatives: the candidates of the last batches, first in first out."""

    size: int = key(
        0,
        low=0,
        doc="candidates of earlier batches that are kept, at least a batch; 0: no bank",
        example="negatives=bank negatives.bank.size=16384",
    )
    warmup: float = key(
        0.1,
        low=0,
        training=True,
        decides=lambda values: values["negatives.bank.size"] > 0,
        doc="share of the training before the bank is used",
        example="negatives=bank negatives.bank.warmup=0.25",
    )


@keys_of("negatives.filter")
class FilterConfig:
    """Negatives that score nearly as high as the positive: likely false ones."""

    gamma: float | None = key(
        None,
        above=0,
        doc="keep a negative only where its score is below gamma times that of the "
        "positive, before temperature and correction; null: keep all",
        example="negatives.filter.gamma=0.95",
    )
    warmup: float = key(
        0.1,
        low=0,
        training=True,
        decides=lambda values: values["negatives.filter.gamma"] is not None,
        doc="share of the training before negatives are filtered",
        example="negatives.filter.gamma=0.95 negatives.filter.warmup=0.3",
    )


@keys_of("negatives")
class NegativesConfig:
    """The items that a positive is compared with."""

    in_batch: bool = key(
        True,
        decides=_draws,
        doc="use the other positives of the batch as negatives of a row",
        example="negatives.in_batch=false negatives.easy.num=1024",
    )
    layout: str = key(
        "shared",
        choices=("shared", "per_row"),
        decides=lambda values: _draws(values) and has_slots(values),
        doc="shared: easy draws are columns of the whole batch; per_row: slots of each "
        "row",
        example="negatives=uniform negatives.layout=per_row negatives.easy.num=16",
    )
    easy: Sampler = section(Uniform, decides=_draws)
    hard: Hard = section(Funnel, decides=_draws)
    hard_ratio: float | None = key(
        None,
        low=0,
        high=1,
        decides=lambda values: _draws(values) and values["negatives.hard.num"] > 0,
        doc="probability that a slot is hard; null: every hard slot is",
        example="negatives=half_hard negatives.hard_ratio=0.25",
    )
    hard_start: float | None = key(
        None,
        low=0,
        high=1,
        decides=_schedules,
        doc="probability that a slot is hard at the first step; null: "
        "hard_ratio from the start",
        example="negatives=half_hard negatives.hard_start=0",
    )
    hard_ramp: float = key(
        1.0,
        low=0,
        high=1,
        decides=_schedules,
        doc="share of the training in which hard_start becomes hard_ratio",
        example="negatives=half_hard negatives.hard_start=0 negatives.hard_ramp=0.5",
    )
    bank: BankConfig = section(BankConfig, decides=_draws)
    num_hard_negatives: int = key(
        0,
        low=0,
        decides=_draws,
        doc="best scored negatives kept per row; 0: all",
        example="negatives=top_k_in_batch negatives.num_hard_negatives=50",
    )
    mask: str = key(
        "same_item",
        choices=("none", "same_item", "user_positives"),
        doc="draws left out: none, those equal to the positive, or all positives of "
        "the user",
        example="user_positives",
    )
    filter: FilterConfig = section(FilterConfig)
    available: bool = key(
        False, doc="only items of the log by the time of the positive are its negatives"
    )
    allow_exposed: bool = key(
        False,
        decides=False,  # a permission
        doc="allow exposed items without a click as negatives",
        example="negatives=hard negatives.hard.stages=[exposed] "
        "negatives.allow_exposed=true",
    )

    def __post_init__(self) -> None:
        self._check_ratio()
        stages = self.hard.stages if isinstance(self.hard, Funnel) else ()
        exposed = any(parse_stage(stage)[0] == "exposed" for stage in stages)
        if exposed and self.hard.num and not self.allow_exposed:
            raise InputError(
                f"negatives.hard.stages={list(stages)} makes items that were "
                "shown and not clicked negatives of retrieval, a well-known mistake: "
                "the user was interested in them; leave them out, or set "
                "negatives.allow_exposed=true to measure the effect"
            )

    def _check_ratio(self) -> None:
        if self.hard_ratio is None:
            if self.hard_start is None:
                return
            raise InputError(
                f"negatives.hard_start={self.hard_start} is the start of a schedule "
                "that ends at negatives.hard_ratio, which is null; set hard_ratio too"
            )
        if self.hard.num == 0:
            raise InputError(
                f"negatives.hard_ratio={self.hard_ratio} mixes the slots of "
                "negatives.hard.num=0 with easy ones; set negatives.hard.num above 0, "
                "or negatives.hard_ratio=null"
            )
        all_hard = 1.0 in (self.hard_ratio, self.hard_start)
        exact = isinstance(self.hard, Resampled) and self.hard.log_q == "mixture"
        if all_hard and exact and not self.in_batch:
            raise InputError(
                "negatives.hard_ratio or hard_start=1.0 with negatives/hard="
                "resampled leaves no easy draws beside the pool, which the log q of "
                "the mixture needs; set it below 1, negatives.hard_ratio=null for "
                "resampled draws alone, or negatives.hard.log_q=easy or none"
            )
        if self.layout == "shared" and self.easy.num == 0:
            raise InputError(
                f"negatives.hard_ratio={self.hard_ratio} mixes hard slots with the "
                "negatives.easy.num=0 easy ones; set negatives.easy.num above 0, or "
                "negatives.hard_ratio=null for hard slots that are always on"
            )
