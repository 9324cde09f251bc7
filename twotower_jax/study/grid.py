"""Grids of hyperparameters: their axes, and points of them."""

import itertools
import math

import numpy as np

Axes = dict[str, list[str]]
Point = dict[str, str]


def grid_size(axes: Axes) -> int:
    """The number of points of a grid.

    Examples:
      >>> grid_size({"loss.temperature": ["0.1", "0.2"], "optimizer": ["adam"]})
      2
    """
    return math.prod(map(len, axes.values()))


def shuffled(points: list[Point], seed: int = 0) -> list[Point]:
    """The points of a grid in an order of which every beginning is a sample.

    Examples:
      >>> points = grid_points({"rate": ["1", "2", "3"]})
      >>> sorted(one["rate"] for one in shuffled(points)) == ["1", "2", "3"]
      True
    """
    order = np.random.default_rng(seed).permutation(len(points))
    return [points[place] for place in order]


def grid_points(axes: Axes, trials: int | None = None, seed: int = 0) -> list[Point]:
    """The points of a grid in order, the last axis fastest, or a random part of them.

    Examples:
      >>> grid_points({"rate": ["1", "2"], "batch": ["64", "128"]})[1]
      {'rate': '1', 'batch': '128'}
      >>> grid_points({}, trials=12)
      [{}]
    """
    places = range(grid_size(axes))
    if trials is not None and trials < len(places):
        rng = np.random.default_rng(seed)
        places = sorted(rng.choice(len(places), trials, replace=False).tolist())
    every = list(itertools.product(*axes.values()))
    return [dict(zip(axes, every[place], strict=True)) for place in places]
