"""The options of the sweeper that selects."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Options(NamedTuple):
    """The options of the sweeper (``conf/hydra/sweeper/select.yaml``).

    Attributes:
      params: values of the arms and seeds of the study, by key.
      tune: values of the axes that all trained arms have, by key.
      arm_tune: axes of single arms, by the name of the arm and by key.
      trials: largest number of points that each arm tries, None for all.
      trials_seed: seed of the draw of these points.
      tune_seeds: seeds of the runs on validation, one number or several.
      metric: on validation, None for ``training.metric``.
      rungs: steps at which the worse points of each arm are left, ascending; empty:
        every point is trained to its end.
      eta: of this many points of an arm one goes on from a rung.
      minutes: for the runs on validation; None: no limit.
      selection: file or folder of an earlier selection whose choices are tested, None
        to tune.
    """

    params: dict[str, Any]
    tune: dict[str, Any]
    arm_tune: dict[str, Any]
    trials: int | None
    trials_seed: int
    tune_seeds: Sequence[int] | int
    metric: str | None
    rungs: Sequence[int]
    eta: int
    minutes: float | None
    selection: str | None
