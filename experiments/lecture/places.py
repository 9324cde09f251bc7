"""The places where the claims are checked: worlds, settings and public logs."""

from typing import NamedTuple

from checks import CLAIMS
from run import REAL, WORLDS

LOG = "recall@20"  # recall of the log's clicks
BY_LOG = "by its log"  # of a world: the conclusion of an engineer without the truth


class Place(NamedTuple):
    """A place where studies were run.

    Attributes:
      studies: names of the studies, folders of outputs/lecture.
      recall: the metric that stands for recall in this place.
      claims: the claims that are checked in this place.
    """

    studies: tuple[str, ...]
    recall: str = "true_recall@20"
    claims: tuple[str, ...] = tuple(CLAIMS)


PLACES = {
    "default": Place(("default",)),
    f"default, {BY_LOG}": Place(("default",), LOG),
    "numbers of slots": Place(("forms",), claims=("L5",)),
    f"numbers of slots, {BY_LOG}": Place(("forms",), LOG, ("L5",)),
    **{world: Place((world,)) for world in WORLDS},
    **{f"{world}, tuned there": Place((f"{world}_tuned",)) for world in WORLDS},
    # The two claims for which log and truth disagree in the default world.
    **{f"{world}, {BY_LOG}": Place((world,), LOG, ("L5", "L7")) for world in WORLDS},
    **{data: Place((data,), LOG) for data in REAL},
}
