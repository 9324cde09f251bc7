"""Section ``negatives.hard``: the hard slots of each row, and the stages of a log."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twotower_jax.errors import InputError
from twotower_jax.registry import check_choice, check_keys, key, section

STAGES = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")
REJECTED = ("retrieved", "pre_ranked")  # by pre-ranking, by ranking
THROUGH = ("ranked", "re_ranked")  # came through ranking and were not shown


# --- when the keys have an effect, given all values by dotted key ---------------------

Values = Mapping[str, Any]


def hard_negatives(values: Values) -> bool:
    """Whether any slot is ever hard."""
    if not values["negatives.hard.num"]:
        return False
    return values["negatives.hard_ratio"] != 0 or bool(values["negatives.hard_start"])


def _hard_from(*sources: str) -> Callable[[Values], bool]:
    return lambda v: hard_negatives(v) and v["negatives.hard.source"] in sources


def _decides_num(values: Values) -> bool:
    """Slots that are never hard are easy draws per row, and else none.

    A key that turns a section on has an effect where it is 0.
    """
    return (
        hard_negatives(values)
        or values["negatives.layout"] == "per_row"
        or not values["negatives.hard.num"]
    )


def _decides_log_q(values: Values) -> bool:
    """Whether a log q is subtracted, and slots are hard."""
    return hard_negatives(values) and values.get("loss.logq.correct", "none") != "none"


@dataclass(unsafe_hash=True)
class MinedConfig:
    """Hard negatives mined by the model itself: a window of its exact ranking."""

    warmup: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training before the first mining; until then slots are easy",
        example="negatives=mined negatives.hard.mined.warmup=0.2",
    )
    every: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training between two minings",
        example="negatives=mined negatives.hard.mined.every=0.05",
    )
    range_min: int = key(
        100,
        low=0,
        doc="mined: first rank of the window of the model's ranking, from 0",
        example="negatives=mined negatives.hard.mined.range_min=50",
    )
    range_max: int = key(
        500,
        doc="mined: end of the window of ranks, itself not included",
        example="negatives=mined negatives.hard.mined.range_max=1000",
    )

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
        choices=("log", "mined", "dns", "resampled"),
        decides=hard_negatives,
        doc="log: items that a stage discarded; mined: a window of the model's "
        "ranking; dns: the best scored of several easy draws; resampled: drawn from "
        "several easy draws by the model's softmax",
        example="negatives=mined",
    )
    stages: tuple[str, ...] = key(
        REJECTED,
        decides=_hard_from("log"),
        doc="log: furthest stages that the items reached: `retrieved` were rejected by "
        "pre-ranking, `pre_ranked` by ranking; `pre_ranked:50-100` its ranks 50 to 99, "
        "0 the best. `ranked` and `re_ranked` came through ranking: users like many of "
        "them, so they are hard negatives by name only",
        example="negatives=hard negatives.hard.stages=[retrieved]",
    )
    weights: tuple[float, ...] = key(
        (),
        above=0,
        decides=_hard_from("log"),
        doc="log: weight of each stage in the draw; []: 1 each",
        example="negatives=hard negatives.hard.weights=[3,1]",
    )
    pool: str = key(
        "request",
        choices=("request", "user"),
        decides=_hard_from("log"),
        doc="log: items of the request of the positive, or of all requests of the user",
        example="negatives=hard negatives.hard.pool=user",
    )
    pool_size: int = key(
        64,
        low=1,
        decides=_hard_from("log"),
        doc="log: most items kept per pool, drawn once",
        example="negatives=hard negatives.hard.pool_size=256",
    )
    num: int = key(
        0,
        low=0,
        decides=_decides_num,
        doc="hard slots per row; 0: no hard negatives",
        example="negatives=hard negatives.hard.num=8",
    )
    log_q: str = key(
        "mixture",
        choices=("mixture", "easy", "none"),
        decides=_decides_log_q,
        doc="log q of hard draws: that of the row's mixture, of an easy draw, or none",
        example="negatives=hard negatives.hard.log_q=easy",
    )
    candidate_num: int = key(
        8,
        low=2,
        decides=_hard_from("dns", "resampled"),
        doc="dns: easy draws per slot, of which the best scored is kept; resampled: "
        "easy draws per row, from which its slots are drawn",
        example="negatives=dns negatives.hard.candidate_num=16",
    )
    mined: MinedConfig = section(MinedConfig, decides=_hard_from("mined"))

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

    Returns:
      Name of the stage, first rank, and end of the ranks (None: no end).

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
            "or with a window of ranks, pre_ranked:50-100"
        )
    name, first, end = match.groups()
    check_choice("negatives.hard.stages", name, STAGES)
    if first is None:
        return name, 0, None
    if int(end) <= int(first):
        raise InputError(
            f"negatives.hard.stages={text!r} has an empty window of ranks; the second "
            "number must be the larger one"
        )
    return name, int(first), int(end)
