"""Which samples are trained on, and what they are worth: positives, negatives, loss."""

import re
from dataclasses import dataclass, field

from twotower_jax.config.checks import choice, in_range, positive
from twotower_jax.errors import InputError

STAGES = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")


@dataclass(unsafe_hash=True)
class PositivesConfig:
    """How positives are resampled, anew each epoch (sampling/positives.py).

    Attributes:
      exponent: g of upsample_cold and downsample_hot, b of power.
      reference: c_ref; null is the mean count of the items that have a positive.
      max_repeat: r_max of upsample_cold.
      threshold: t of word2vec.
      cap: positives an item and epoch of cap.
      reweight: weigh a positive by 1 / w_i, which undoes the shift of the optimum.
    """

    strategy: str = "none"
    exponent: float = 0.5
    reference: float | None = None
    max_repeat: int = 10
    threshold: float = 1e-3
    cap: int = 100
    reweight: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("positives.exponent", self.exponent, 0, 4)
        if self.reference is not None:
            positive("positives.reference", self.reference)
        in_range("positives.max_repeat", self.max_repeat, 1)
        positive("positives.threshold", self.threshold)
        in_range("positives.cap", self.cap, 1)


@dataclass(unsafe_hash=True)
class EasyConfig:
    """Easy negatives drawn from the whole catalogue."""

    sampler: str = "uniform"
    alpha: float = 0.75
    smoothing: float = 1.0
    num: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("negatives.easy.alpha", self.alpha, 0, 2)
        in_range("negatives.easy.num", self.num, 0)
        positive("negatives.easy.smoothing", self.smoothing)


@dataclass(unsafe_hash=True)
class MinedConfig:
    """Hard negatives mined by the model itself: a window of its exact ranking.

    Attributes:
      every: steps between two minings.
      range_min, range_max: the window [range_min, range_max) of ranks, from 0.
    """

    every: int = 1000
    range_min: int = 100
    range_max: int = 500

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("negatives.hard.mined.every", self.every, 1)
        in_range("negatives.hard.mined.range_min", self.range_min, 0)
        if self.range_max <= self.range_min:
            raise InputError(
                f"negatives.hard.mined.range_max={self.range_max} must be above "
                f"negatives.hard.mined.range_min={self.range_min}; ranks are "
                "[range_min, range_max), from 0"
            )


@dataclass(unsafe_hash=True)
class HardConfig:
    """Hard negatives: a row's own slots.

    Attributes:
      source: log (items that a stage threw out), mined (a window of the model's
        ranking) or dns (the best of candidate_num easy draws).
      stages: of the log; ``ranked:10-50`` takes the ranks 10 to 49 of a stage.
      weights: one a stage; none: every stage 1.
      pool: request (the positive's own request) or user (all their requests).
      pool_size: items kept a pool at most.
      num: slots a row.
      log_q: mixture, easy or none.
      candidate_num: draws of dns that the best is chosen from.
    """

    source: str = "log"
    stages: tuple[str, ...] = ("pre_ranked", "ranked")
    weights: tuple[float, ...] = ()
    pool: str = "request"
    pool_size: int = 64
    num: int = 0
    log_q: str = "mixture"
    candidate_num: int = 8
    mined: MinedConfig = field(default_factory=MinedConfig)

    def __post_init__(self) -> None:
        """Check ranges; lists from YAML become tuples."""
        self.stages, self.weights = tuple(self.stages), tuple(self.weights)
        choice("negatives.hard.source", self.source, ("log", "mined", "dns"))
        choice("negatives.hard.pool", self.pool, ("request", "user"))
        choice("negatives.hard.log_q", self.log_q, ("mixture", "easy", "none"))
        in_range("negatives.hard.num", self.num, 0)
        in_range("negatives.hard.pool_size", self.pool_size, 1)
        in_range("negatives.hard.candidate_num", self.candidate_num, 2)
        for name in self.stages:
            parse_stage(name)
        if self.weights and len(self.weights) != len(self.stages):
            raise InputError(
                f"negatives.hard.weights={list(self.weights)} must have one weight "
                f"for each of negatives.hard.stages={list(self.stages)}, or be []"
            )
        for weight in self.weights:
            positive("negatives.hard.weights", weight)
        if self.source == "dns" and self.log_q == "mixture" and self.num:
            raise InputError(
                "negatives.hard.log_q=mixture is unknown to negatives.hard.source=dns "
                "in training: the chance of being the best draw needs the score of "
                "every item; set negatives.hard.log_q=easy or none"
            )


def parse_stage(text: str) -> tuple[str, int, int | None]:
    """Return (stage, first rank, end rank) of ``stage`` or ``stage:first-end``.

    Raises:
      InputError: when the text is neither.
    """
    match = re.fullmatch(r"([a-z_]+)(?::(\d+)-(\d+))?", text)
    if not match:
        raise InputError(
            f"negatives.hard.stages={text!r} is no stage; write one such as ranked, "
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
    """Cross-batch negatives: the candidates of the last batches, first in first out.

    Attributes:
      size: candidates kept; 0 keeps none.
      warmup: steps before the bank is used.
    """

    size: int = 0
    warmup: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("negatives.bank.size", self.size, 0)
        in_range("negatives.bank.warmup", self.warmup, 0)


@dataclass(unsafe_hash=True)
class NegativesConfig:
    """Which items a positive is compared with.

    Attributes:
      layout: shared (easy draws are columns of the whole batch) or per_row (each
        row draws its own easy.num + hard.num slots).
      hard_ratio: chance that an explicit slot is hard; null: every hard slot is on.
      hard_start: the ratio at the first step; null: hard_ratio from the start.
      hard_ramp: share of the training in which the ratio moves from start to end.
      num_hard_negatives: keep only the k best scored columns of a row; 0 keeps all.
      allow_exposed: lets exposed, not clicked items be negatives.
    """

    in_batch: bool = True
    layout: str = "shared"
    easy: EasyConfig = field(default_factory=EasyConfig)
    hard: HardConfig = field(default_factory=HardConfig)
    hard_ratio: float | None = None
    hard_start: float | None = None
    hard_ramp: float = 1.0
    bank: BankConfig = field(default_factory=BankConfig)
    num_hard_negatives: int = 0
    mask: str = "same_item"
    allow_exposed: bool = False

    def __post_init__(self) -> None:
        """Check ranges, choices and combinations."""
        choice("negatives.layout", self.layout, ("shared", "per_row"))
        choice("negatives.mask", self.mask, ("none", "same_item", "user_positives"))
        in_range("negatives.num_hard_negatives", self.num_hard_negatives, 0)
        for name in ("hard_ratio", "hard_start"):
            if getattr(self, name) is not None:
                in_range(f"negatives.{name}", getattr(self, name), 0, 1)
        in_range("negatives.hard_ramp", self.hard_ramp, 0, 1)
        self._check_ratio()
        exposed = [s for s in self.hard.stages if parse_stage(s)[0] == "exposed"]
        if exposed and self.hard.num and not self.allow_exposed:
            raise InputError(
                f"negatives.hard.stages={list(self.hard.stages)} makes items that were "
                "shown and not clicked negatives of retrieval, a well-known mistake: "
                "the user was interested in them; leave them out, or set "
                "negatives.allow_exposed=true to measure what it does"
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


@dataclass(unsafe_hash=True)
class StreamingConfig:
    """The streaming estimator of item frequencies (sampling/frequency.py)."""

    buckets: int = 100_000
    hashes: int = 2
    alpha: float = 0.01
    initial_gap: float = 100.0

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("loss.logq.streaming.buckets", self.buckets, 1)
        in_range("loss.logq.streaming.hashes", self.hashes, 1, 16)
        in_range("loss.logq.streaming.alpha", self.alpha, 0, 1)
        in_range("loss.logq.streaming.initial_gap", self.initial_gap, 1)


@dataclass(unsafe_hash=True)
class LogqConfig:
    """Correction by the log of the expected count of a candidate in the row."""

    correct: str = "all"
    frequency: str = "counts"
    streaming: StreamingConfig = field(default_factory=StreamingConfig)

    def __post_init__(self) -> None:
        """Check choices."""
        choice("loss.logq.correct", self.correct, ("none", "all", "negatives"))
        choice("loss.logq.frequency", self.frequency, ("counts", "streaming"))


@dataclass(unsafe_hash=True)
class LossConfig:
    """The loss and its numbers.

    Attributes:
      ratio: negatives a positive of bce: their weights sum to it; null: each is 1.
      margin: of hinge, in units of the score without temperature (the cosine).
      calibration: t of gbce, from 0 (plain bce) to 1 (calibrated).
    """

    name: str = "sampled_softmax"
    temperature: float = 0.07
    learn_temperature: bool = False
    ratio: float | None = None
    margin: float = 0.2
    calibration: float = 0.75
    logq: LogqConfig = field(default_factory=LogqConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        positive("loss.temperature", self.temperature)
        if self.ratio is not None:
            positive("loss.ratio", self.ratio)
        positive("loss.margin", self.margin)
        in_range("loss.calibration", self.calibration, 0, 1)
