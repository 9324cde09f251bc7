"""Runs with weights of positives: from a file to the result, and refused ones."""

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.errors import DataError, InputError
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder
from twotower_jax.run.loader import load_data

TABLE = ("data=table", "data.columns.time=at")


def write_clicks(path, weight):
    """Write the positives of a tiny world; weight is a function of the item's code."""
    log = load_data(tiny.make_config(path.parent)).log
    clicked = log.stage == 5
    item = log.item[clicked]
    columns = {"user": log.user[clicked], "item": item, "at": log.time[clicked]}
    pl.DataFrame(columns | {"grade": weight(item)}).write_parquet(path)


def make(path, output, *words):
    return tiny.make_config(output, *TABLE, f"data.path={path}", *words)


@pytest.mark.slow
def test_items_of_weight_zero_are_recommended_less(tmp_path):
    """Items of an even code have weight 0; of the lists, few are left."""
    path = tmp_path / "clicks.parquet"
    write_clicks(path, lambda item: item % 2.0)
    shares = {}
    for words in ((), ("positives.weight=grade",)):
        words = (*words, "evaluation.save_topk=true", "training.steps=200")
        config = make(path, tmp_path, *words, "training.patience=0")
        result = run(config)
        top = pl.read_parquet(run_folder(config) / "topk.parquet")["item"]
        shares[words[0]] = float((top % 2 == 0).mean())
    assert shares["positives.weight=grade"] < 0.7 * shares["evaluation.save_topk=true"]
    report = result["samples"]["weights"]
    assert 0.2 < report["without weight"] < 0.8
    number = result["samples"]["positives"]["samples before"]
    assert report["effective samples"] == pytest.approx(
        (1 - report["without weight"]) * number
    )


@pytest.mark.slow
def test_a_run_is_not_returned_for_another_column(tmp_path):
    path = tmp_path / "clicks.parquet"
    write_clicks(path, lambda item: 1.0 + item)
    config = make(path, tmp_path, "positives.weight=grade", "training.steps=2")
    run(config)
    run(config)
    write_clicks(path, lambda item: 2.0 + item)
    with pytest.raises(InputError, match="other values in the column of positives.wei"):
        run(config)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (lambda item: 0.0 * item, InputError, "positives.weight=grade is 0 for each"),
        (lambda item: item - 3.0, DataError, "'grade'.* is negative; positives.weight"),
        (
            lambda item: np.where(item == 1, np.nan, 1.0),
            DataError,
            "'grade'.* positives.weight=grade needs the weight of every positive",
        ),
        (
            lambda item: [f"grade {i}" for i in item],
            DataError,
            "'grade 0' is not a number; .*positives.weight=grade",
        ),
    ],
)
def test_wrong_weights_are_refused_before_training(tmp_path, weight, error, message):
    path = tmp_path / "clicks.parquet"
    write_clicks(path, weight)
    with pytest.raises(error, match=message):
        run(make(path, tmp_path, "positives.weight=grade"))
    assert not list(tmp_path.rglob("metrics.jsonl"))
