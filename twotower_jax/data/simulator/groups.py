"""Groups of items, and draws from the items of a group that have appeared."""

from typing import NamedTuple

import numpy as np


class Groups(NamedTuple):
    """Items by group; items appear in the order of their index.

    Attributes:
      of: [items] int32, the group of each item.
      order: [items] int32, the items sorted by group, then index.
      first: [groups] int64, the first place of each group in ``order``.
      keys: [items] int64, group * items + item in that order.
    """

    of: np.ndarray
    order: np.ndarray
    first: np.ndarray
    keys: np.ndarray


def make_groups(of: np.ndarray, num: int) -> Groups:
    """Items sorted by group.

    Examples:
      >>> groups = make_groups(np.array([1, 0, 1]), 2)
      >>> groups.order.tolist(), groups.first.tolist()
      ([1, 0, 2], [0, 1])
    """
    of = of.astype(np.int32)
    order = np.argsort(of, kind="stable")
    keys = of[order].astype(np.int64) * len(of) + order
    first = np.searchsorted(of[order], np.arange(num))
    return Groups(of, order.astype(np.int32), first, keys)


def draw_in_groups(
    groups: Groups, group: np.ndarray, alive: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """Uniform draws of items from groups, with replacement."""
    items = len(groups.of)
    begin = groups.first[group]
    end = np.searchsorted(groups.keys, group.astype(np.int64) * items + alive[:, None])
    size = np.where(group >= 0, end - begin, 0)
    place = begin[..., None] + (uniform * size[..., None]).astype(np.int64)
    drawn = groups.order[np.minimum(place, items - 1)]
    return np.where(size[..., None] > 0, drawn, np.int32(-1))
