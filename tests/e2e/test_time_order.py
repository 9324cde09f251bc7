"""Training in the order of time, and on items that were known by then."""

import numpy as np
import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.loader import load_data
from twotower_jax.run.problem import make_problem

TIME = "training.order=time"


def test_batches_pass_through_the_log_in_its_order(tmp_path):
    """Also up-sampled positives; an epoch ends and the next begins at the start."""
    for more in ((), ("positives=upsample_cold",)):
        config = tiny.make_config(tmp_path, TIME, *more)
        data = load_data(config)
        order = make_problem(config, data).order
        first, both = order.positives(1), order.positives(2)
        rows = order.batches(0, both // 256 + 1).reshape(-1)[:both]
        falls = np.flatnonzero(np.diff(data.split.train.time[rows]) < 0)
        assert falls.tolist() == [first - 1]


@pytest.mark.slow
def test_the_order_changes_the_training_and_a_repetition_does_not(tmp_path):
    plain = run(tiny.make_config(tmp_path))
    timed = run(tiny.make_config(tmp_path, TIME))
    again = run(tiny.make_config(tmp_path / "again", TIME))
    assert timed["metrics"]["test"] == again["metrics"]["test"]
    assert (
        timed["metrics"]["test"]["recall@20"] != plain["metrics"]["test"]["recall@20"]
    )


@pytest.fixture
def timeless(tmp_path):
    """Return the overrides of a table without times."""
    rng = np.random.default_rng(0)
    lines = [f"{u},{i}" for u, i in rng.integers(0, 40, (400, 2))]
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "\n".join(lines) + "\n")
    return (
        "data=table",
        f"data.path={path}",
        "data.columns.time=null",
        "data.split=ratio",
        "data.columns.stage=null",
        "training.batch_size=16",
        "training.steps=4",
        "evaluation.k=[5,20]",
    )


def test_a_log_without_times_is_refused(timeless, tmp_path):
    with pytest.raises(InputError, match="training.order=time reads .* has no times"):
        run(tiny.make_config(tmp_path / "runs", *timeless, TIME))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_known_items_are_reported(tmp_path):
    world = "data.simulator.growth=3"
    for more in ((), ("negatives.layout=per_row",), (TIME,)):
        config = tiny.make_config(
            tmp_path,
            world,
            "negatives=mixed",
            "negatives.easy.num=32",
            *more,
            "negatives.available=true",
        )
        known = run(config)["samples"]["available"]
        assert 0.3 < known["mean share"] < known["last share"] < 1


def test_known_items_need_times(timeless, tmp_path):
    with pytest.raises(InputError, match="negatives.available=true leaves out"):
        run(tiny.make_config(tmp_path / "runs", *timeless, "negatives.available=true"))
    assert not (tmp_path / "runs").exists()
