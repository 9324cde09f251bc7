"""Whole trainings on meshes of eight devices (run by tests).

Usage: mesh_loop.py FOLDER CHECK; prints "CHECK holds".
"""

import logging
import re
import sys
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.problems import (
    as_loaded,
    small_problem,
    with_features,
    zipf_clicks,
)
from twotower_jax.data.feed import make_queries
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.evaluation.spread import spread_items
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.negatives import masks
from twotower_jax.progress import TrainingProgress
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, Trainer, fit
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.step import run_steps

USERS, ITEMS = 1001, 2003  # no multiple of 2, 4 or 8
CLICKS = 4000
QUIET = Console(quiet=True)
# Meshes (data, table) on which a training begins, and on which it goes on.
MOVES = (((2, 4), (1, 1)), ((1, 1), (1, 8)), ((1, 8), (2, 2)))


def problem_of(mesh, query=("id", "group", "size"), mask="same_item"):
    """Return a problem with a bank, drawn negatives, and features of each kind."""
    data = as_loaded(*zipf_clicks(USERS, ITEMS, CLICKS), USERS, ITEMS)
    return small_problem(
        with_features(data),
        towers__query=query,
        towers__candidate=("id", "tags", "text"),
        training__mesh__data=mesh[0],
        training__mesh__table=mesh[1],
        negatives__easy__num=10,
        negatives__bank__size=32,
        negatives__bank__warmup=0,
        negatives__mask=mask,
    )


def train(folder, mesh, steps=12):
    """Return the state after the steps, of this folder's last checkpoint."""
    schedule = Schedule(steps, 4, 6, 6, 0, "recall@20")

    def progress(start):
        return TrainingProgress(QUIET, steps, start, 16, "recall@20")

    hooks = Hooks(progress, lambda record: None)
    problem = problem_of(mesh)._replace(schedule=schedule)
    return fit(problem, Checkpoints(folder), hooks)[0]


def arrays(state, mesh):
    """Return the arrays of a state without the padding of tables."""
    layout = problem_of(mesh).layout()
    return [
        np.atleast_1d(leaf)[: layout.rows_of(path) if leaf.ndim else None]
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    ]


def one_program(folder):
    """Every step of a mesh is one program, and a run gives the same bits again."""
    compiled = Compiled()
    for mesh in ((2, 1), (2, 4)):
        first, again = (
            arrays(train(f"{folder}/{mesh} {name}", mesh), mesh) for name in "ab"
        )
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)
    assert compiled.number == 2


class Compiled(logging.Handler):
    """Counts how often the program of a dispatch is compiled."""

    def __init__(self):
        """Listen to jax."""
        super().__init__()
        self.number = 0
        jax.config.update("jax_log_compiles", True)
        logger = logging.getLogger("jax._src.dispatch")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record):
        """Count a line."""
        text = record.getMessage()
        self.number += "Finished XLA compilation of jit(run_steps)" in text


def one_layout(folder):
    """As `layouts`, from one device to eight."""
    layouts(folder, (((1, 1), (1, 8)),))


def layouts(folder, moves=MOVES):
    """A checkpoint of a layout goes on in another, in memory, too."""
    wanted = arrays(train(f"{folder}/one", (1, 1)), (1, 1))
    for before, after in moves:
        place = f"{folder}/{before} {after}"
        half = arrays(train(place, before, 6), before)
        problem = problem_of(after)
        with jax.set_mesh(problem.layout().mesh):
            like = jax.eval_shape(problem.start)
        state, _ = Checkpoints(place).load(6, like, problem.layout())
        for one, other in zip(half, arrays(state, after), strict=True):
            np.testing.assert_array_equal(one, other)
        # As if it went on: a training that has ended does not.
        state, notes = Checkpoints(place).load(6, like, problem.layout())
        Checkpoints(place).save(state, notes | {"done": False, "stopped": ""}, {6})
        found = arrays(train(place, after), after)
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def compiled(problem, folder):
    """Return the program of a dispatch as text."""
    schedule = Schedule(12, 4, 6, 6, 0, "recall@20")
    hooks = Hooks(lambda start: None, print)
    problem = problem._replace(schedule=schedule)
    trainer = Trainer(problem, Checkpoints(folder), hooks)
    data, rows = trainer.feed(trainer.problem.order.batches(0, 4))
    with jax.set_mesh(trainer.mesh):
        arguments = trainer.program, data, trainer.state, rows, np.int32(4)
        return run_steps.lower(*arguments).compile().as_text()


def blocks(folder):
    """No array of a step has the rows of a table, all positives, or rows x columns."""
    query = ("id", "group", "history")
    problem = problem_of((2, 4), query, mask="user_positives")
    masks.CHUNK = 256  # fewer than the rows of a table
    text, pairs = compiled(problem, folder), len(problem.data.positives.item)
    shapes = {
        tuple(map(int, one.split(","))) for one in re.findall(r"\[([\d,]+)\]", text)
    }
    own = {-(-rows // 4) for rows in (USERS, ITEMS)}
    firsts = {shape[0] for shape in shapes}
    assert own | {CLICKS // 4} <= firsts  # the blocks of both tables, and of positives
    sizes = {size for shape in shapes for size in shape}
    assert -(-pairs // 4) in sizes
    assert not sizes & {USERS, ITEMS, CLICKS, pairs, 4 * max(own), 4 * min(own)}
    rows = problem.order.batches(0, 1).shape[1]
    columns = 10 + rows + 32
    assert (rows // 8, columns) in shapes  # the rows of a device
    assert not [shape for shape in shapes if {rows, columns} <= set(shape)]
    wide = [shape for shape in shapes if len(shape) > 1]
    assert max(max(shape) for shape in wide) <= max(own), sorted(wide)[-5:]


def catalogues(folder):
    """As `catalogue`, where only the queries or only the items are spread."""
    catalogue(folder, ((8, 1), (1, 8)))


def catalogue(folder, meshes=((2, 4),)):
    """The catalogue stays spread, and its lists are those of one device."""
    for mesh in ((1, 1), *meshes):
        problem = problem_of(mesh)
        with jax.set_mesh(problem.layout().mesh):
            params = problem.layout().put(problem.start()).params
        model, entities = problem.program.model, problem.data.entities
        items = spread_items(all_candidates(model, params, entities, ITEMS), ITEMS)
        users = make_queries(np.arange(USERS, dtype=np.int32), None)
        queries = all_queries(model, params, entities, users)
        if mesh != (1, 1):
            assert len(items) == ITEMS and items.copies == mesh[0]
            own, blocks = -(-ITEMS // mesh[1]), items.blocks
            last = own * (mesh[1] - 1)
            assert len(blocks) == mesh[0] * mesh[1]
            assert all(len(one.vectors) == own for one in blocks if one.first != last)
        seen = from_pairs(np.arange(USERS), np.arange(USERS), USERS)
        scores, found = Embeddings(queries, items).top_k(50, seen)
        assert not (found == np.arange(USERS)[:, None]).any()
        if mesh == (1, 1):
            all_scores, wanted = np.asarray(queries) @ np.asarray(items).T, scores
        offset = np.linspace(-1, 1, ITEMS, dtype=np.float32)
        shifted = Embeddings(queries, items).with_offset(offset).top_k(50, seen)
        if mesh == (1, 1):
            best = shifted[0]
        np.testing.assert_allclose(shifted[0], best, rtol=2e-6)
        # Items whose scores differ by a rounding may change places.
        own = np.take_along_axis(all_scores, found, axis=1)
        np.testing.assert_allclose(scores, wanted, rtol=2e-6)
        np.testing.assert_allclose(own, wanted, rtol=2e-6)


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    checks = (one_program, one_layout, layouts, blocks, catalogue, catalogues)
    {one.__name__: one for one in checks}[sys.argv[2]](sys.argv[1])
    print(sys.argv[2], "holds")
