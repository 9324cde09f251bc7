"""Pools of hard negatives of a prepared log, made once and then read by memory maps."""

from pathlib import Path

from twotower_jax.data.funnel_rows import FunnelRows
from twotower_jax.data.prepared.made import Room, load_made, make_at, place_of
from twotower_jax.run.loader import Loaded
from twotower_jax.sampling.hard_pools import CUT, PoolRule, make_pools
from twotower_jax.sampling.pool_arrays import HardPools


def stored_pools(
    folder: Path, rows: FunnelRows, rule: PoolRule, data: Loaded, seed: int
) -> tuple[HardPools, dict[str, int]]:
    """Return pools from the files of a prepared folder, made there where it has none.

    Pools that ``pool_size`` does not cut are those of every seed. Where the folder
    cannot be written, or its disk is full, they are made in memory.

    Args:
      folder: that is prepared.
      rows: its funnel.
      rule: the rows that are hard negatives.
      data: the log and its split.
      seed: of the random subsets of large pools.

    Returns:
      The pools and the counts of `make_pools`.

    Raises:
      InputError: of `make_pools`, or stored pools are damaged.
    """
    num_items = data.log.num_items
    keys = {"fingerprint": data.fingerprint, **rule._asdict()}

    def place_for(counts: dict[str, int]) -> Path:
        own = {"seed": seed} if counts.get(CUT, 1) else {}
        return place_of(folder, "pools", keys | own)

    def build(room: Room) -> dict[str, int]:
        return make_pools(rows, rule, num_items, seed, room)[1]

    names = HardPools._fields
    made = load_made(place_for({CUT: 0}), names) or load_made(place_for({}), names)
    made = made or make_at(build, place_for, names)
    if made is None:
        return make_pools(rows, rule, num_items, seed)
    return HardPools(**made.arrays), made.counts
