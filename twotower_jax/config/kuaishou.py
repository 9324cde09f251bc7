"""How the public logs of Kuaishou are read: RecFlow and KuaiRand."""

import contextlib
import dataclasses
import re
from dataclasses import dataclass, field
from datetime import date

from twotower_jax.config.checks import choice, in_range
from twotower_jax.errors import InputError

RECFLOW_STAGES = ("all_stage", "request_id_dict")
RECFLOW_FEEDBACK = (
    "effective_view",
    "long_view",
    "like",
    "follow",
    "forward",
    "comment",
)
KUAIRAND_FEEDBACK = (
    "is_click",
    "long_view",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_profile_enter",
)
KUAIRAND_TESTS = ("random", "standard")
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?")


@dataclass(unsafe_hash=True)
class RecFlowKeptConfig:
    """Rows kept a request of what was not shown, by the furthest flag of the row."""

    rerank_pos: int = 10
    rerank_neg: int = 10
    rank_pos: int = 10
    rank_neg: int = 10
    coarse_neg: int = 10
    prerank_neg: int = 10

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, number in dataclasses.asdict(self).items():
            in_range(f"data.recflow.kept.{name}", number, 0)


@dataclass(unsafe_hash=True)
class RecFlowConfig:
    """What is read of RecFlow.

    Attributes:
      days: null is every day there, "7" the first seven, "2024-01-13" one day and
        "2024-01-13..2024-01-19" a span with both its ends.
      stages: the folder that says what every stage threw out: "all_stage" (tables,
        with places) or "request_id_dict" (pickled arrays without places, beside the
        tables in "realshow").
      clicked: the feedback that makes a shown video a positive.
      kept: rows kept of each kind.
      seed: of the choice of these rows.
    """

    days: str | None = None
    stages: str = "all_stage"
    clicked: str = "effective_view"
    kept: RecFlowKeptConfig = field(default_factory=RecFlowKeptConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        choice("data.recflow.stages", self.stages, RECFLOW_STAGES)
        choice("data.recflow.clicked", self.clicked, RECFLOW_FEEDBACK)
        in_range("data.recflow.seed", self.seed, 0, 2**31 - 1)
        if self.days is not None and not self.days.isdecimal():
            self.span()

    def span(self) -> tuple[date, date]:
        """Return the first and the last day that ``days`` names as dates.

        Raises:
          InputError: it is neither a day nor a span of days.
        """
        found = _SPAN.fullmatch(self.days or "")
        first, last = date.max, date.min
        if found:
            with contextlib.suppress(ValueError):
                first = date.fromisoformat(found[1])
                last = date.fromisoformat(found[2] or found[1])
        if first > last:
            raise InputError(
                f"data.recflow.days={self.days!r} names no days; give a number of days "
                "(the first ones), a day such as 2024-01-13, or a span such as "
                "2024-01-13..2024-01-19"
            )
        return first, last


@dataclass(unsafe_hash=True)
class KuaiRandConfig:
    """What is read of KuaiRand.

    Attributes:
      clicked: the feedback that makes a shown video a positive.
      test: "random": the log of random exposures is the test part, the standard log
        of the first two weeks the train part and that of the weeks of the random log
        the valid part (data.split=given). "standard": only the standard logs are
        read, for the other splits.
      statistics: columns of video_features_statistic to use as numeric features.
        They are means over the whole month, test included.
    """

    clicked: str = "is_click"
    test: str = "random"
    statistics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check choices; lists become tuples."""
        self.statistics = tuple(self.statistics)
        choice("data.kuairand.clicked", self.clicked, KUAIRAND_FEEDBACK)
        choice("data.kuairand.test", self.test, KUAIRAND_TESTS)
