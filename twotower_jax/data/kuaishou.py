"""Sections ``data.recflow`` and ``data.kuairand``: the public logs of Kuaishou."""

import contextlib
import re
from dataclasses import field
from datetime import date

from twotower_jax.errors import InputError
from twotower_jax.registry import key, keys_of

RECFLOW_STAGES = ("all_stage", "request_id_dict")
RECFLOW_FEEDBACK = ("effective_view", "long_view", "like", "follow", "forward")
RECFLOW_FEEDBACK += ("comment",)
KUAIRAND_FEEDBACK = ("is_click", "long_view", "is_like", "is_follow", "is_comment")
KUAIRAND_FEEDBACK += ("is_forward", "is_profile_enter")
KUAIRAND_TESTS = ("random", "standard")
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?")


RECFLOW = "data=recflow data.path=RecFlow"
KUAIRAND = "data=kuairand data.path=KuaiRand-Pure"


def _kept(flag: str, videos: str, another: int = 50) -> int:
    return key(
        10,
        low=0,
        doc=f"rows kept per request of videos that {videos}; 0: none",
        example=f"{RECFLOW} data.recflow.kept.{flag}={another}",
    )


@keys_of("data.recflow.kept")
class RecFlowKeptConfig:
    """Rows kept per request of the videos that were not shown; 0 keeps none.

    A row belongs to the flag of its furthest stage.
    """

    rerank_pos: int = _kept("rerank_pos", "passed re-ranking and were not shown")
    rerank_neg: int = _kept("rerank_neg", "re-ranking discarded")
    rank_pos: int = _kept("rank_pos", "passed ranking")
    rank_neg: int = _kept("rank_neg", "ranking discarded")
    coarse_neg: int = _kept("coarse_neg", "coarse ranking discarded")
    prerank_neg: int = _kept("prerank_neg", "pre-ranking discarded", another=0)


@keys_of("data.recflow")
class RecFlowConfig:
    """The part of RecFlow that is read.

    ``days`` is null (all), a number of days such as ``7`` (the first ones), one day
    such as ``2024-01-13``, or a span of days, both ends included, such as
    ``2024-01-13..2024-01-19``.
    """

    days: str | None = key(
        None,
        doc="days that are read, such as 7 (the first seven), 2024-01-13, or "
        "2024-01-13..2024-01-19; null: all",
        example=f"{RECFLOW} data.recflow.days=7",
    )
    stages: str = key(
        "all_stage",
        choices=RECFLOW_STAGES,
        doc="folder of the discarded videos: tables with ranks, or without ranks "
        "beside `realshow`, made by experiments/papers/recflow/convert.py",
        example=f"{RECFLOW} data.recflow.stages=request_id_dict",
    )
    clicked: str = key(
        "effective_view",
        choices=RECFLOW_FEEDBACK,
        doc="feedback that makes a shown video a positive",
        example=f"{RECFLOW} data.recflow.clicked=long_view",
    )
    kept: RecFlowKeptConfig = field(default_factory=RecFlowKeptConfig)
    seed: int = key(
        0,
        low=0,
        high=2**31 - 1,
        doc="seed of the choice of kept rows",
        example=f"{RECFLOW} data.recflow.seed=1",
    )

    def __post_init__(self) -> None:
        if self.days is not None and not self.days.isdecimal():
            self.span()

    def span(self) -> tuple[date, date]:
        """Return the first and the last day of ``days``."""
        match = _SPAN.fullmatch(self.days or "")
        first, last = date.max, date.min
        if match:
            with contextlib.suppress(ValueError):
                first = date.fromisoformat(match[1])
                last = date.fromisoformat(match[2] or match[1])
        if first > last:
            raise InputError(
                f"data.recflow.days={self.days!r} does not name days; give a number of "
                "days (the first ones), a day such as 2024-01-13, or a span such as "
                "2024-01-13..2024-01-19"
            )
        return first, last


@keys_of("data.kuairand")
class KuaiRandConfig:
    """The part of KuaiRand that is read.

    With ``test=random`` (for ``data.split=given``) the log of random exposures is the
    test part, the standard log of the first two weeks the train part and the standard
    log of the weeks of the random log the valid part. With ``test=standard`` only the
    standard logs are read, for the other splits.
    """

    clicked: str = key(
        "is_click",
        choices=KUAIRAND_FEEDBACK,
        doc="feedback that makes a shown video a positive",
        example=f"{KUAIRAND} data.kuairand.clicked=long_view",
    )
    test: str = key(
        "random",
        choices=KUAIRAND_TESTS,
        doc="test on random exposures, or read the standard logs only",
        example=f"{KUAIRAND} data.split=temporal data.kuairand.test=standard",
    )
    statistics: tuple[str, ...] = key(
        (),
        doc="columns of `video_features_statistic` that become numeric "
        "features, means over the whole month with the test; []: none",
        example="data=kuairand data.path=KuaiRand-1K "
        "data.kuairand.statistics=[play_cnt,like_cnt]",
    )
