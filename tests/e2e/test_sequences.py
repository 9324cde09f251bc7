"""Sequence towers: what they learn, their runs again, and what is refused."""

import re

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder

ITEMS, USERS, LENGTH = 12, 400, 8
SHORT = (
    "towers=sequence",
    "towers.query=[history]",
    "towers.history_length=5",
    "towers.sequence.longer=newest",
    "towers.sequence.layers=1",
    "training.steps=20",
)


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Return a log in which the last item of a user alone decides the next one.

    Half of the items are random, the others and the last one follow from the one
    before. The same items in another order have another next one.
    """
    rng = np.random.default_rng(0)
    after = np.roll(np.arange(ITEMS), 5)
    rows = []
    for user in range(USERS):
        item = int(rng.integers(ITEMS))
        for place in range(LENGTH):
            rows.append((user, item, place))
            chance = rng.random() < 0.5 and place < LENGTH - 2
            item = int(rng.integers(ITEMS)) if chance else int(after[item])
    path = tmp_path_factory.mktemp("chains") / "clicks.csv"
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(path)
    return path


def of_chains(path, output, *words):
    return tiny.make_config(
        output,
        "data=table",
        f"data.path={path}",
        "data.columns.time=time",
        "data.split=leave_last_out",
        "data.repeats=all",
        "negatives=uniform",
        "negatives.easy.num=64",
        "optimizer=adam",
        "optimizer.learning_rate=0.01",
        "towers.dim=16",
        "training.batch_size=128",
        "training.steps=250",
        "training.eval_every=50",
        "evaluation.k=[1,5]",
        "training.metric=recall@5",
        *words,
    )


@pytest.mark.slow
def test_an_order_is_learned_that_a_mean_does_not_see(chains, tmp_path):
    recall = {}
    for pooling in ("transformer", "mean"):
        words = f"towers.history_pooling={pooling}", "towers.history_length=5"
        config = of_chains(chains, tmp_path, "towers.query=[history]", *words)
        recall[pooling] = run(config)["metrics"]["test"]["recall@1"]
    assert recall["transformer"] > 0.95
    assert recall["mean"] < 0.6


@pytest.mark.slow
def test_a_run_is_evaluated_and_reproduced_to_the_bit(tmp_path):
    config = tiny.make_config(tmp_path, *SHORT)
    result = run(config)
    assert result["metrics"]["test"]["recall@20"] > 0.03
    report = result["data"]
    (first,) = (n for name, n in report.items() if name.startswith("first positives"))
    (older,) = (n for name, n in report.items() if name.startswith("positives older"))
    assert first > 50 and older > 50
    folder = str(run_folder(config))
    assert tiny.command("evaluate", folder) == 0
    assert tiny.command("reproduce", folder) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.columns.time=null",), "the log has no times.*leave_last_out"),
        (("towers.sequence.heads=3",), "towers.sequence.heads=3 does not divide"),
        (("towers.query=[id]",), "transformer reads the history"),
    ],
)
def test_what_cannot_work_is_refused_before_training(chains, tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        config = of_chains(chains, tmp_path, "data.split=ratio", *SHORT, *words)
        run(config)
    assert not list(tmp_path.glob("**/metrics.jsonl"))


def test_longer_sequences_than_the_tower_takes_are_refused(chains, tmp_path):
    refuse = (*SHORT, "towers.sequence.longer=refuse", "towers.history_length=3")
    message = (
        "towers.history_length=3 is too short for the training sequences of 400 users, "
        "the longest of which has 6 positives; towers.sequence.longer=newest leaves "
        "800 positives out, all but the newest 4 of each user, and "
        "towers.history_length=5 takes all"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        run(of_chains(chains, tmp_path, *refuse))
    assert not list(tmp_path.glob("**/metrics.jsonl"))
    remedies = "towers.history_length=5", "towers.sequence.longer=newest"
    kept = [
        run(of_chains(chains, tmp_path, *refuse, word))["data"] for word in remedies
    ]
    older = [sum(n for key, n in one.items() if "older" in key) for one in kept]
    assert older == [0, 800]


@pytest.mark.slow
def test_baselines_beside_a_sequence_know_every_training_positive(chains, tmp_path):
    words = ("towers.query=[history]", "training.steps=0", "baselines=true")
    sequence, mean = (
        run(of_chains(chains, tmp_path, pooling, *words))["baselines"]
        for pooling in ("towers=sequence", "towers=history")
    )
    assert sequence and sequence == mean


def test_a_run_starts_from_a_transformer_of_its_own_shape(tmp_path):
    first = tiny.make_config(tmp_path, *SHORT)
    run(first)
    start = f"training.start_from={run_folder(first)}"
    again = tiny.make_config(tmp_path, *SHORT, start, "seed=1", "training.steps=0")
    metrics = run(again)["metrics"]["test"]
    assert metrics["recall@20"] > 0.03
    for word in ("towers.sequence.layers=2", "towers.history_length=6"):
        key = word.split("=")[0]
        with pytest.raises(InputError, match=f"has {key}=.*, and this run has {word}"):
            run(tiny.make_config(tmp_path, *SHORT, word, start))
