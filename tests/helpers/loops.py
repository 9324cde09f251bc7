"""Short trainings of a small problem, their validation values given in advance."""

import numpy as np
from rich.console import Console

from helpers.problems import as_loaded, small_problem
from twotower_jax.progress import TrainingProgress
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, fit
from twotower_jax.training.schedule import Schedule

USERS, ITEMS, BATCH, NUMBER = 6, 8, 4, 30


def make_problem(learning_rate=0.05, normalize=True, items=ITEMS):
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, USERS, NUMBER), rng.integers(0, ITEMS, NUMBER)
    return small_problem(
        as_loaded(user, item, USERS, items),
        towers__dim=2,
        towers__hidden=(),
        towers__normalize=normalize,
        towers__init_scale=0.5,
        loss__temperature=1.0,
        optimizer__learning_rate=learning_rate,
        training__batch_size=BATCH,
        training__merge_columns=False,
    )


def make_schedule(**changes):
    schedule = Schedule(
        steps=12,
        steps_per_dispatch=3,
        eval_every=4,
        checkpoint_every=4,
        patience=0,
        metric="m",
    )
    return schedule._replace(**changes)


class Watched(Checkpoints):
    """Checkpoints that note the steps of their saves."""

    def __init__(self, folder):
        super().__init__(folder)
        self.saves = []

    def save(self, state, notes, keep):
        self.saves.append(int(state.step))
        super().save(state, notes, keep)


class Run:
    """A training with validation values given in advance."""

    def __init__(self, folder, values=(), problem=None, **changes):
        self.checkpoints, self.records = Watched(folder), []
        schedule, problem = make_schedule(**changes), problem or make_problem()
        self.values, self.problem = list(values), problem._replace(schedule=schedule)

    def evaluate(self, params):
        assert set(params) == {"tables", "dense"}
        return {"m": self.values.pop(0)}

    def hooks(self):
        return Hooks(quiet, self.records.append, self.evaluate if self.values else None)

    def fit(self):
        return fit(self.problem, self.checkpoints, self.hooks())

    def steps(self):
        return [one["step"] for one in self.records]


def quiet(start):
    return TrainingProgress(Console(quiet=True), 12, start, BATCH, "m")


def tables(state):
    return {n: np.asarray(t).tobytes() for n, t in state.params["tables"].items()}
