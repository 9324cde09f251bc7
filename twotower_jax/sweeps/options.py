"""The options of the sweeper that selects."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Options(NamedTuple):
    """The options of the sweeper (``conf/hydra/sweeper/select.yaml``).

    Attributes:
      params: values of the arms and seeds of the study, by key.
      tune: values of the axes of the grid, by key.
      tune_seeds: seeds of the runs on validation, one number or several.
      budget: points of the grid that are tried, None for all.
      budget_seed: of the draw of these points.
      metric: on validation, None for ``training.metric``.
    """

    params: dict[str, Any]
    tune: dict[str, Any]
    tune_seeds: Sequence[int] | int
    budget: int | None
    budget_seed: int
    metric: str | None
