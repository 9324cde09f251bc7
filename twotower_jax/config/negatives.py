"""Section ``negatives``: the items that a positive is compared with."""

import re
from dataclasses import dataclass, field

from twotower_jax.config.checks import choice
from twotower_jax.config.schema import check_keys, key
from twotower_jax.errors import InputError

STAGES = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")


@dataclass(unsafe_hash=True)
class EasyConfig:
    """Easy negatives: draws from the whole catalogue."""

    sampler: str = key("uniform", doc="name of the proposal")
    alpha: float = key(
        0.75,
        low=0,
        high=2,
        doc="popularity: q_i is proportional to (clicks + smoothing)^alpha",
    )
    smoothing: float = key(1.0, above=0, doc="popularity: added to the clicks")
    num: int = key(
        0, low=0, doc="easy draws: per batch if layout is shared, else per row"
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "negatives.easy")


@dataclass(unsafe_hash=True)
class MinedConfig:
    """Hard negatives mined by the model itself: a window of its exact ranking."""

    warmup: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training before the first mining; until then slots are easy",
    )
    every: float = key(
        0.1, above=0, training=True, doc="share of the training between two minings"
    )
    range_min: int = key(100, low=0, doc="first rank of the window, from 0")
    range_max: int = key(500, doc="end of the window of ranks, itself not included")

    def __post_init__(self) -> None:
        """Check each value, then that pools are renewed, and the window."""
        check_keys(self, "negatives.hard.mined")
        if self.warmup + self.every >= 1:
            raise InputError(
                f"negatives.hard.mined.every={self.every} after negatives.hard.mined."
                f"warmup={self.warmup} leaves no time for a second mining; their sum "
                "must be below 1"
            )
        if self.range_max <= self.range_min:
            raise InputError(
                f"negatives.hard.mined.range_max={self.range_max} must be above "
                f"negatives.hard.mined.range_min={self.range_min}; ranks are "
                "[range_min, range_max), from 0"
            )


@dataclass(unsafe_hash=True)
class HardConfig:
    """Hard negatives: slots of each row."""

    source: str = key(
        "log",
        choices=("log", "mined", "dns"),
        doc="log: items that a stage discarded; mined: a window of the model's "
        "ranking; dns: the best scored of several easy draws",
    )
    stages: tuple[str, ...] = key(
        ("pre_ranked", "ranked"),
        doc="log: furthest stages of the items; `ranked:10-50`: its ranks 10 to 49",
    )
    weights: tuple[float, ...] = key(
        (), above=0, doc="log: weight of each stage in the draw; []: 1 each"
    )
    pool: str = key(
        "request",
        choices=("request", "user"),
        doc="log: items of the request of the positive, or of all requests of the user",
    )
    pool_size: int = key(64, low=1, doc="most items kept per pool")
    num: int = key(0, low=0, doc="hard slots per row")
    log_q: str = key(
        "mixture",
        choices=("mixture", "easy", "none"),
        doc="log q of hard draws: that of the row's mixture, of an easy draw, or none",
    )
    candidate_num: int = key(8, low=2, doc="dns: easy draws per slot")
    mined: MinedConfig = field(default_factory=MinedConfig)

    def __post_init__(self) -> None:
        """Check each value, then stages, weights and log q."""
        check_keys(self, "negatives.hard")
        for name in self.stages:
            parse_stage(name)
        if self.weights and len(self.weights) != len(self.stages):
            raise InputError(
                f"negatives.hard.weights={list(self.weights)} must have one weight "
                f"for each of negatives.hard.stages={list(self.stages)}, or be []"
            )
        if self.source == "dns" and self.log_q == "mixture" and self.num:
            raise InputError(
                "negatives.hard.log_q=mixture cannot be computed for negatives.hard."
                "source=dns in training: the probability of being the best draw needs "
                "the score of every item; set negatives.hard.log_q=easy or none"
            )


def parse_stage(text: str) -> tuple[str, int, int | None]:
    """Return the stage and the window of ranks of an entry of ``hard.stages``.

    Args:
      text: ``stage``, or ``stage:first-end``; ``end`` is not in the window.

    Returns:
      Name of the stage, first rank, and end of the ranks (None: no end).

    Raises:
      InputError: the text has another form, names no stage, or the window is empty.

    Examples:
      >>> parse_stage("ranked")
      ('ranked', 0, None)
      >>> parse_stage("ranked:10-50")
      ('ranked', 10, 50)
    """
    match = re.fullmatch(r"([a-z_]+)(?::(\d+)-(\d+))?", text)
    if not match:
        raise InputError(
            f"negatives.hard.stages={text!r} is not a stage; write one such as ranked, "
            "or with a window of ranks, ranked:10-50"
        )
    name, first, end = match.groups()
    choice("negatives.hard.stages", name, STAGES)
    if first is None:
        return name, 0, None
    if int(end) <= int(first):
        raise InputError(
            f"negatives.hard.stages={text!r} has an empty window of ranks; the second "
            "number must be the larger one"
        )
    return name, int(first), int(end)


@dataclass(unsafe_hash=True)
class BankConfig:
    """Cross-batch negatives: the candidates of the last batches, first in first out."""

    size: int = key(0, low=0, doc="candidates kept; 0: no bank")
    warmup: float = key(
        0.1,
        low=0,
        training=True,
        doc="share of the training before the bank is used",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "negatives.bank")


@dataclass(unsafe_hash=True)
class NegativesConfig:
    """The items that a positive is compared with."""

    in_batch: bool = key(True, doc="use the other positives of the batch")
    layout: str = key(
        "shared",
        choices=("shared", "per_row"),
        doc="easy draws are columns of the whole batch, or slots of each row",
    )
    easy: EasyConfig = field(default_factory=EasyConfig)
    hard: HardConfig = field(default_factory=HardConfig)
    hard_ratio: float | None = key(
        None,
        low=0,
        high=1,
        doc="probability that a slot is hard; null: every hard slot is",
    )
    hard_start: float | None = key(
        None,
        low=0,
        high=1,
        doc="hard_ratio at the first step; null: constant",
    )
    hard_ramp: float = key(
        1.0,
        low=0,
        high=1,
        doc="share of the training in which hard_start becomes hard_ratio",
    )
    bank: BankConfig = field(default_factory=BankConfig)
    num_hard_negatives: int = key(
        0, low=0, doc="best scored negatives kept per row; 0: all"
    )
    mask: str = key(
        "same_item",
        choices=("none", "same_item", "user_positives"),
        doc="draws left out: none, those equal to the positive, or all positives of "
        "the user",
    )
    available: bool = key(
        False,
        doc="only items of the log by the time of the positive are its negatives",
    )
    allow_exposed: bool = key(
        False, doc="allow exposed items without a click as negatives"
    )

    def __post_init__(self) -> None:
        """Check each value, then the combinations of them."""
        check_keys(self, "negatives")
        self._check_ratio()
        exposed = [s for s in self.hard.stages if parse_stage(s)[0] == "exposed"]
        if exposed and self.hard.num and not self.allow_exposed:
            raise InputError(
                f"negatives.hard.stages={list(self.hard.stages)} makes items that were "
                "shown and not clicked negatives of retrieval, a well-known mistake: "
                "the user was interested in them; leave them out, or set "
                "negatives.allow_exposed=true to measure the effect"
            )

    def _check_ratio(self) -> None:
        if self.hard_ratio is None and self.hard_start is not None:
            raise InputError(
                f"negatives.hard_start={self.hard_start} is the start of a schedule "
                "that ends at negatives.hard_ratio, which is null; set hard_ratio too"
            )
        if self.hard_ratio is None:
            return
        if self.hard.num == 0:
            raise InputError(
                f"negatives.hard_ratio={self.hard_ratio} mixes the slots of "
                "negatives.hard.num=0 with easy ones; set negatives.hard.num above 0, "
                "or negatives.hard_ratio=null"
            )
        if self.layout == "shared" and self.easy.num == 0:
            raise InputError(
                f"negatives.hard_ratio={self.hard_ratio} mixes hard slots with the "
                "negatives.easy.num=0 easy ones; set negatives.easy.num above 0, or "
                "negatives.hard_ratio=null for hard slots that are always on"
            )
