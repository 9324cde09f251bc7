"""A log of a folder of RecFlow, and its expected rows, shared by tests."""

from collections import defaultdict

from helpers.kuaishou import (
    STAGES,
    recflow_day,
)
from twotower_jax.data.config import DataConfig
from twotower_jax.data.kuaishou import RecFlowConfig, RecFlowKeptConfig
from twotower_jax.data.sources import load

ALL = RecFlowKeptConfig(*[1000] * 6)
# The stage of a row by its furthest flag, as documented in the source.
STAGE = dict(
    zip(
        STAGES,
        ("EXPOSED", "RE_RANKED", "RANKED", "RANKED", *["PRE_RANKED"] * 2, "RETRIEVED"),
        strict=True,
    )
)


def read(folder, **keys):
    keys = {"kept": ALL} | keys
    config = DataConfig(source="recflow", path=str(folder), split="given")
    config.recflow = RecFlowConfig(**keys)
    return load(config)


def expected(clicked="effective_view", days=range(3)):
    """Return the expected rows, computed from the tables by a plain loop."""
    out = {}
    for day in days:
        table = recflow_day(day)
        ended = defaultdict(list)
        for row in table.iter_rows(named=True):
            flag = next(name for name in STAGES if row[name])
            stage = "CLICKED" if flag == "realshow" and row[clicked] else STAGE[flag]
            key = row["request_id"], row["video_id"]
            out[key] = [row["user_id"], stage, row["request_timestamp"] / 1000, -1, day]
            place = {"rank_neg": "rank_index"} | dict.fromkeys(
                ("rerank_pos", "rerank_neg"), "rerank_index"
            )
            if flag in place:
                ended[row["request_id"], stage].append((row[place[flag]], key))
        for places in ended.values():
            for rank, (_, key) in enumerate(sorted(places)):
                out[key][3] = rank
    return {key: tuple(values) for key, values in out.items()}
