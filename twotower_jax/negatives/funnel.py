"""Hard negatives of the log: items that a stage of the funnel rejected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.lazy import jax, jnp, shards
from twotower_jax.negatives.hard import HARD, HardStep, Pooled
from twotower_jax.negatives.source import RowPools
from twotower_jax.registry import check_choice, key, tag

STAGES = ("retrieved", "pre_ranked", "ranked", "re_ranked", "exposed")
REJECTED = ("retrieved", "pre_ranked")  # by pre-ranking, by ranking
THROUGH = ("ranked", "re_ranked")  # came through ranking and were not shown


@HARD.add
@dataclass(unsafe_hash=True)
class Funnel(Pooled):
    """Items that a stage of the funnel discarded, by the log."""

    of_log: ClassVar[bool] = True

    source: str = tag("log", words="negatives=hard")
    stages: tuple[str, ...] = key(
        REJECTED,
        traced=False,
        doc="furthest stages that the items reached: `retrieved` were rejected by "
        "pre-ranking, `pre_ranked` by ranking; `pre_ranked:50-100` its ranks 50 to 99, "
        "0 the best. `ranked` and `re_ranked` came through ranking: users like many of "
        "them, so they are hard negatives by name only",
        example="[retrieved]",
    )
    weights: tuple[float, ...] = key(
        (),
        above=0,
        traced=False,
        doc="weight of each stage in the draw; []: 1 each",
        example="[3,1]",
    )
    pool: str = key(
        "request",
        choices=("request", "user"),
        traced=False,
        doc="items of the request of the positive, or of all requests of the user",
        example="user",
    )
    pool_size: int = key(
        64, low=1, traced=False, doc="most items kept per pool, drawn once"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.stages:
            parse_stage(name)
        if self.weights and len(self.weights) != len(self.stages):
            raise InputError(
                f"negatives.hard.weights={list(self.weights)} must have one weight "
                f"for each of negatives.hard.stages={list(self.stages)}, or be []"
            )

    def pools(self, step: HardStep) -> RowPools:
        """The pools of the rows, empty for a positive that has none."""
        pools = step.inputs.arrays
        place = shards.take_rows(jnp.asarray(pools.of_row), step.batch.rows)
        place = jnp.where(place < 0, len(pools.item), place)

        def rows_of(values: Any, padding: float) -> jax.Array:
            return shards.take_known(jnp.asarray(values), place, padding)

        return RowPools(
            rows_of(pools.item, step.inputs.num_items),
            rows_of(pools.log_prob, -jnp.inf),
            rows_of(pools.stage, -1),
        )


def parse_stage(text: str) -> tuple[str, int, int | None]:
    """The stage and the window of ranks of an entry of ``hard.stages``."""
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
