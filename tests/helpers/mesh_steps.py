"""Steps on meshes of eight devices beside those of one, in float64 (run by tests).

Usage: mesh_steps.py MESHES CASE, such as 8x1,2x4 bank; prints "CASE MESH: largest
difference" for each mesh.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
from twotower_jax.negatives import masks
from twotower_jax.training.mesh import DeviceFeed, spread_axis
from twotower_jax.training.problem import Problem
from twotower_jax.training.step import train_step

masks.CHUNK = 32  # many chunks, and not as many on each device
USERS, ITEMS, CLICKS, BATCH, STEPS = 37, 53, 400, 16, 20
TABLES = {"negatives__easy__num": 10}
SLOTS = TABLES | {"negatives__hard__num": 4}
FEATURES = ("id", "group", "tags", "size", "text")
HISTORY = TABLES | {"towers__query": ("history",), "towers__history_length": 6}
SEQUENCE = HISTORY | {"towers__history_pooling": "transformer"}
LOG = SLOTS | {
    "negatives__hard__source": "log",
    "negatives__hard__pool": "user",
    "negatives__hard__stages": ("ranked", "pre_ranked"),
}
CASES: dict[str, dict[str, Any]] = {
    "batch": {},
    "bank": TABLES | {"negatives__bank__size": 40, "negatives__bank__warmup": 0},
    "adam": TABLES | {"optimizer__name": "adam", "optimizer__l2": 1e-3},
    "adam of every row": TABLES | {"optimizer__name": "adam_dense"},
    "sgd": TABLES | {"optimizer__name": "sgd"},
    "history": HISTORY,
    "features": {"towers__query": FEATURES, "towers__candidate": FEATURES},
    "features of histories": HISTORY
    | {
        "towers__query": (*FEATURES, "history"),
        "towers__candidate": FEATURES,
        "towers__history_features": FEATURES,
    },
    "attention": HISTORY | {"towers__history_pooling": "attention"},
    "shared table": HISTORY
    | {"towers__history_table": "shared", "optimizer__name": "adam"},
    **{
        strategy: TABLES | {"positives__strategy": strategy}
        for strategy in ("upsample_cold", "downsample_hot", "word2vec", "cap")
    },
    "streaming": TABLES | {"loss__logq__frequency": "streaming"},
    "log uniform": TABLES | {"negatives__easy__sampler": "log_uniform"},
    "reweighted": TABLES
    | {"positives__strategy": "power", "positives__reweight": True},
    "popularity": TABLES | {"negatives__easy__sampler": "popularity"},
    "per row": TABLES | {"negatives__layout": "per_row"},
    "masked": TABLES | {"negatives__mask": "user_positives"},
    "masked per row": TABLES
    | {"negatives__mask": "user_positives", "negatives__layout": "per_row"},
    "weights": {"positives__weight": "grade"},
    "pools": LOG,
    "pools of requests": LOG | {"negatives__hard__pool": "request"},
    "half hard": LOG
    | {
        "negatives__in_batch": False,
        "negatives__layout": "per_row",
        "negatives__hard_ratio": 0.5,
    },
    "pairs of stages": LOG | {"loss__stage_pairs__weight": 1.0},
    "hardest of a batch": {"negatives__num_hard_negatives": 5},
    "filter": TABLES | {"negatives__filter__gamma": 0.95},
    "two ways": {"loss__two_way__weight": 0.5},
    "two ways, users corrected": {
        "loss__two_way__weight": 0.5,
        "loss__two_way__correct": "users",
    },
    "two views": {"loss__self_supervised__weight": 0.5}
    | {"loss__self_supervised__num": 16, "towers__candidate": FEATURES},
    "decoupled": TABLES | {"loss__decoupled": True, "loss__negative_weight": 1.2},
    "tempered": TABLES | {"loss__logq__strength": 0.5},
    "dropout": TABLES | {"towers__query_dropout": 0.2},
    "psl of relu": TABLES | {"loss__name": "psl", "loss__activation": "relu"},
    "sequence": SEQUENCE,
    "available": TABLES | {"negatives__available": True},
    "available per row": TABLES
    | {"negatives__available": True, "negatives__layout": "per_row"},
    "mined": SLOTS
    | {
        "negatives__hard__source": "mined",
        "negatives__hard__mined__range_min": 5,
        "negatives__hard__mined__range_max": 20,
    },
    "dns": SLOTS
    | {
        "negatives__hard__source": "dns",
        "negatives__hard__candidate_num": 8,
        "negatives__hard__log_q": "easy",
        "negatives__mask": "user_positives",
    },
    "resampled": {
        "negatives__in_batch": False,
        "negatives__layout": "per_row",
        "negatives__easy__num": 4,
        "negatives__hard__source": "resampled",
        "negatives__hard__num": 4,
        "negatives__hard__candidate_num": 8,
        "negatives__mask": "none",
    },
    "unmerged": TABLES | {"training__merge_columns": False},
    "learned temperature": TABLES | {"loss__learn_temperature": True},
} | {
    f"loss {name}": TABLES | {"loss__name": name}
    for name in (
        "full_softmax",
        "softmax_at_k",
        "bce",
        "gbce",
        "hinge",
        "logistic",
        "psl",
        "ccl",
        "dcl",
        "hcl",
    )
}


def problem_of(case: str, data: int, table: int) -> Problem:
    """Return the problem of a case on a mesh."""
    rng, clicked = np.random.default_rng(6), zipf_clicks(USERS, ITEMS, CLICKS)
    stages = rng.choice([Stage.RANKED, Stage.PRE_RANKED], CLICKS)
    requests, lost_items = np.arange(CLICKS), rng.integers(0, ITEMS, CLICKS)
    lost = {"user": clicked[0], "item": lost_items, "stage": stages}
    lost |= {"request": requests}
    clicks = as_loaded(*clicked, USERS, ITEMS, lost, requests)
    times = np.arange(CLICKS, dtype=float)
    clicks = with_features(with_times(clicks, times, times + 0.5))
    if case == "weights":
        train = replace(clicks.split.train, weight=rng.uniform(0, 2, CLICKS))
        clicks = clicks._replace(split=replace(clicks.split, train=train))
    return small_problem(
        clicks,
        training__batch_size=BATCH,
        training__mesh__data=data,
        training__mesh__table=table,
        **CASES[case],
    )


def as_float64(tree: Any) -> Any:
    """Return a tree with its floats in float64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        tree,
    )


@jax.jit
def run(program: Any, data: Any, state: Any, batches: jax.Array) -> Any:
    """Return the state after some steps, and their losses in float64."""
    return jax.lax.scan(partial(train_step, program, data), state, batches)


def memories(problem: Problem) -> dict[str, Any]:
    """Return what the loop would renew before the first step, of one device.

    In float32 two items may score alike to the last bit, whose order rounding decides.
    """
    start = problem.start()
    renewed = problem.renew(start, problem.memories).samplers
    return {one.name: renewed[one.name] for one in problem.memories}


def steps(
    problem: Problem, renewed: dict[str, Any]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the arrays of the state after some steps, without padding, and losses."""
    layout = problem.layout()
    with jax.set_mesh(layout.mesh):
        random = problem.start()
    start = as_float64(random._replace(samplers=random.samplers | renewed))
    with jax.set_mesh(layout.mesh):
        state = layout.put(start)
        program = as_float64(layout.put_program(problem.program))
        data, rows = DeviceFeed(layout.mesh, as_float64(problem.data))(
            problem.order.batches(0, STEPS)
        )
        state, losses = run(program, data, state, rows)
    leaves = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        rows = layout.rows_of(path) if leaf.ndim else None
        values = np.atleast_1d(leaf)
        axis = min(spread_axis(path), values.ndim - 1)
        every = slice(None)
        leaves.append(values[(*[every] * axis, slice(rows))])
    return leaves, np.asarray(losses)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference, relative to values above 1."""
    first, second = first.astype(float), second.astype(float)
    return float((np.abs(first - second) / np.maximum(1, np.abs(first))).max(initial=0))


def main(meshes: str, case: str) -> None:
    """Print the largest difference of a case on each mesh from one device."""
    renewed = memories(problem_of(case, 1, 1))
    one, losses = steps(problem_of(case, 1, 1), renewed)
    for mesh in meshes.split(","):
        data, table = map(int, mesh.split("x"))
        other, other_losses = steps(problem_of(case, data, table), renewed)
        gap = max(map(difference, one, other))
        loss = np.abs(losses - other_losses).max()
        print(f"{case} {mesh}: {gap:.1e}, losses {loss:.1e}", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(*sys.argv[1:])
