"""Items in groups, and draws from those of a group that are there at a time."""

from typing import NamedTuple

import numpy as np


class Groups(NamedTuple):
    """Items by group; items appear in the order of their index.

    Attributes:
      of: [items] int32, the group of an item.
      order: [items] int32, the items sorted by group, then index.
      first: [groups] int64, where a group begins in ``order``.
      keys: [items] int64, group * items + item in that order.
    """

    of: np.ndarray
    order: np.ndarray
    first: np.ndarray
    keys: np.ndarray


def make_groups(of: np.ndarray, num: int) -> Groups:
    """Return the groups 0..num-1 of items [items]; some may be empty."""
    of = of.astype(np.int32)
    order = np.argsort(of, kind="stable")
    keys = of[order].astype(np.int64) * len(of) + order
    first = np.searchsorted(of[order], np.arange(num))
    return Groups(of, order.astype(np.int32), first, keys)


def draw_in_groups(
    groups: Groups, group: np.ndarray, alive: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """Draw items uniformly, with replacement, from groups.

    Args:
      groups: of the items.
      group: [n, g], -1 for none.
      alive: [n], items from this index on have not yet appeared.
      uniform: [n, g, m] in [0, 1).

    Returns:
      [n, g, m] int32; -1 where there is no group, or nothing in it has appeared.
    """
    items = len(groups.of)
    begin = groups.first[group]
    end = np.searchsorted(groups.keys, group.astype(np.int64) * items + alive[:, None])
    size = np.where(group >= 0, end - begin, 0)
    place = begin[..., None] + (uniform * size[..., None]).astype(np.int64)
    drawn = groups.order[np.minimum(place, items - 1)]
    return np.where(size[..., None] > 0, drawn, np.int32(-1))
