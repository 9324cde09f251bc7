"""Memories of samplers survive a kill, are recorded, and are functions of the run."""

import jax
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem, zipf_clicks
from helpers.quick import quick
from rich.console import Console

from twotower_jax.progress import TrainingProgress
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, fit
from twotower_jax.training.schedule import Schedule

USERS, ITEMS, STEPS = 12, 30, 24
USER, ITEM = zipf_clicks(USERS, ITEMS, 60)
SCHEDULE = Schedule(
    steps=STEPS,
    steps_per_dispatch=3,
    eval_every=STEPS,
    checkpoint_every=5,
    patience=0,
    metric="recall@20",
)
REMEMBERING = {
    "negatives__bank__size": 20,
    "negatives__bank__warmup": 3 / 75,
    "negatives__hard__num": 2,
    "negatives__hard__source": "mined",
    "negatives__hard__mined__warmup": 2 / 75,
    "negatives__hard__mined__every": 4 / 75,
    "negatives__hard__mined__range_min": 2,
    "negatives__hard__mined__range_max": 8,
    "loss__name": "softmax_at_k",
    "loss__at_k__k": 3,
    "loss__at_k__sampled": 10,
    "loss__at_k__every": 7 / 75,
    "loss__logq__correct": "all",
    "loss__logq__frequency": "streaming",
    "loss__logq__streaming__buckets": 50,
    "positives__strategy": "upsample_cold",
    "training__batch_size": 8,
}


class KilledError(Exception):
    """Stands for the end of the process."""


class Mortal(Checkpoints):
    """Checkpoints that end the process after some saves."""

    def __init__(self, folder, saves):
        super().__init__(folder)
        self.left = saves

    def save(self, state, notes, keep):
        super().save(state, notes, keep)
        self.left -= 1
        if self.left == 0:
            raise KilledError


def train(folder, saves=99, records=None, **keys):
    problem = small_problem(as_loaded(USER, ITEM, USERS, ITEMS), **(REMEMBERING | keys))

    def progress(start):
        return TrainingProgress(Console(quiet=True), STEPS, start, 8, "recall@20")

    log = (lambda record: None) if records is None else records.append
    checkpoints = Mortal(folder, saves)
    return fit(problem._replace(schedule=SCHEDULE), checkpoints, Hooks(progress, log))[
        0
    ]


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    records = []
    return train(tmp_path_factory.mktemp("whole"), records=records), records


@pytest.mark.parametrize("saves", quick([1, 2, 4], [2]))
def test_a_killed_run_ends_with_the_same_bits(saves, whole, tmp_path):
    """Saves are at 5, 10, 20: mined pools (of steps 2, 6, 10, 18) are there at each.

    So are the k-th best scores of steps 7, 14 and 21, but for the first save.
    """
    with pytest.raises(KilledError):
        train(tmp_path, saves)
    assert Checkpoints(tmp_path).steps() == [5 * saves]
    assert bits(train(tmp_path)) == bits(whole[0])


@pytest.mark.slow
def test_each_of_them_matters(whole, tmp_path):
    """Without one of them the run ends elsewhere: none is idle in the test above."""
    ends = {tuple(bits(whole[0].params))}
    for change in (
        {"negatives__bank__size": 0},
        {"negatives__hard__num": 0},
        {"loss__logq__frequency": "counts"},
        {"positives__strategy": "none"},
        {"loss__at_k__k": 6},
        {"loss__at_k__sampled": 9},
    ):
        folder = tmp_path / str(len(ends))
        ends.add(tuple(bits(train(folder, **change).params)))
    assert len(ends) == 7


def test_the_kth_scores_are_cosines_of_the_last_estimate(whole):
    kth = np.asarray(whole[0].samplers["kth_score"])
    assert kth.shape == (USERS,) and (np.abs(kth) <= 1.001).all()
    assert len(np.unique(kth)) == USERS


def test_mined_pools_are_a_window_of_each_users_ranking(whole):
    mined = np.asarray(whole[0].samplers["mined"])
    assert mined.shape == (USERS, 6)
    clicked = set(zip(USER.tolist(), ITEM.tolist(), strict=True))
    pairs = [(u, int(i)) for u in range(USERS) for i in mined[u] if i < ITEMS]
    assert len(pairs) == USERS * 6
    assert not clicked & set(pairs)


def test_the_age_and_drift_of_the_bank_are_recorded(whole):
    record = whole[1][-1]
    assert record["step"] == STEPS
    # 20 places hold the last 2.5 batches of 8: ages 1, 2 and half of 3 steps.
    assert record["bank age"] == pytest.approx((8 * 1 + 8 * 2 + 4 * 3) / 20)
    assert 0 < record["bank drift"] < 1
    assert 0.5 < record["bank cosine"] < 1
