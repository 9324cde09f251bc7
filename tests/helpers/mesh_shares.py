"""Bytes of a training on each of eight devices (run by tests).

Usage: mesh_shares.py; prints the bytes of the fullest device and of the emptiest one
for each kind of problem.
"""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.problems import (
    as_loaded,
    small_problem,
    with_features,
    with_times,
    zipf_clicks,
)
from twotower_jax.data.log import Stage
from twotower_jax.training.mesh import DeviceFeed

USERS, ITEMS, CLICKS = 2001, 3003, 8000
SLOTS = {"negatives__easy__num": 10, "negatives__hard__num": 4}
CASES = {
    "features, histories and pools": SLOTS
    | {
        "towers__query": ("id", "group", "size", "history"),
        "towers__candidate": ("id", "tags", "text"),
        "negatives__easy__sampler": "popularity",
        "negatives__hard__source": "log",
        "negatives__hard__pool": "user",
        "negatives__hard__stages": ("ranked", "pre_ranked"),
        "negatives__mask": "user_positives",
        "positives__strategy": "power",
        "positives__reweight": True,
    },
    "mined": SLOTS
    | {
        "negatives__hard__source": "mined",
        "negatives__hard__mined__range_min": 5,
        "negatives__hard__mined__range_max": 20,
    },
    "k-th scores": {"loss__name": "softmax_at_k", "negatives__easy__num": 10},
    "available": {"negatives__easy__num": 10, "negatives__available": True},
    "available per row": {
        "negatives__easy__num": 10,
        "negatives__available": True,
        "negatives__layout": "per_row",
    },
    "two ways": {"loss__two_way__weight": 0.5, "loss__two_way__correct": "users"},
}


def problem_of(case):
    """Return the problem of a case on 1 x 8 devices."""
    rng, clicked = np.random.default_rng(6), zipf_clicks(USERS, ITEMS, CLICKS)
    lost = {
        "user": clicked[0],
        "item": rng.integers(0, ITEMS, CLICKS),
        "stage": rng.choice([Stage.RANKED, Stage.PRE_RANKED], CLICKS),
        "request": np.arange(CLICKS),
    }
    clicks = as_loaded(*clicked, USERS, ITEMS, lost, np.arange(CLICKS))
    times = np.arange(CLICKS, dtype=float)
    clicks = with_features(with_times(clicks, times, times + 0.5))
    return small_problem(clicks, training__mesh__table=8, **CASES[case])


def bytes_of_devices():
    """Return the bytes of all arrays on each device."""
    found = dict.fromkeys(jax.devices(), 0)
    for array in jax.live_arrays():
        for shard in array.addressable_shards:
            found[shard.device] += shard.data.nbytes
    return list(found.values())


def held(case):
    """Return the bytes of the devices while the arrays of a training are there."""
    problem = problem_of(case)
    layout = problem.layout()
    program = layout.put_program(problem.program)
    feed = DeviceFeed(layout.mesh, problem.data)
    with jax.set_mesh(layout.mesh):
        state = layout.put(problem.start())
    memories = layout.put(problem.renew(state, problem.memories)).samplers
    found = bytes_of_devices()
    del problem, program, feed, state, memories
    return found


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    for name in CASES:
        numbers = held(name)
        print(f"{name}: {max(numbers)} {min(numbers)}")
