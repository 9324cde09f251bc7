"""Positives from the lists of another model: read, trained on, unknown to rankings."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.negatives import log_effective
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder
from twotower_jax.run.loader import load_data
from twotower_jax.run.positives import CLICKED, LISTED, UNKNOWN, with_lists
from twotower_jax.run.problem import make_problem
from twotower_jax.run.rank import make_query_sets


def of_world(path, *words):
    """Return a tiny configuration with lists in a file, and its data."""
    config = tiny.make_config(path.parent, f"positives.lists.path={path}", *words)
    return config, load_data(config)


def lists_of(data, item, every=1):
    """Return lists of one item code, that of every user or every second, as ids."""
    users = np.arange(0, data.log.num_users, every)
    ids = {"user": data.log.user_ids.gather(users)}
    return pl.DataFrame(ids | {"item": data.log.item_ids.gather([item] * len(users))})


def pairs(data):
    """Return the listed pairs of the training positives."""
    train, first = data.split.train, len(data.split.train) - data.split.listed
    user, item = train.user[first:].tolist(), train.item[first:].tolist()
    return set(zip(user, item, strict=True))


def test_listed_items_join_the_clicks_and_no_ranking_knows_them(tmp_path):
    path = tmp_path / "lists.parquet"
    config, data = of_world(path, "positives.lists.weight=0.5")
    rare = int(np.argmin(data.counts))
    other = pl.DataFrame({"user": ["nobody", None], "item": ["1", "1"]})
    text = lists_of(data, rare).cast(pl.String)
    pl.concat([text, other]).write_parquet(path)
    part = with_lists(config, data)
    train, clicks = part.split.train, data.split.train
    owners = set(clicks.user[clicks.item == rare].tolist())
    others = set(range(data.log.num_users)) - owners
    assert pairs(part) == {(user, rare) for user in others}
    number = len(others)
    assert len(train) == len(clicks) + number == part.counts.sum()
    assert part.split.report[LISTED] == number
    assert part.split.report[UNKNOWN] == 1
    assert part.split.report[CLICKED] == len(owners)
    assert train.weight.tolist() == [1.0] * len(clicks) + [0.5] * number
    assert with_lists(config, part) is part
    # The log's own data and its queries are as they were.
    assert len(data.split.train) == len(clicks)
    plain = tiny.make_config(tmp_path)
    for name, queries in make_query_sets(config, data).items():
        seen = make_query_sets(plain, data)[name].seen
        assert seen.items.tolist() == queries.seen.items.tolist()


def test_rows_weights_and_log_q_of_a_problem_are_those_of_both(tmp_path):
    """As if the listed pairs were clicks of a log with a column of weights."""
    path = tmp_path / "lists.parquet"
    config, data = of_world(path, "positives.lists.weight=0.25")
    lists_of(data, 7).write_parquet(path)
    problem = make_problem(config, data)
    clicks, number = len(data.split.train), len(problem.data.item)
    weight = np.asarray(problem.data.weight)
    assert weight.mean() == pytest.approx(1)
    np.testing.assert_allclose(weight[clicks:], 0.25 * weight[0], rtol=1e-6)
    counts = np.bincount(np.asarray(problem.data.item), minlength=data.log.num_items)
    assert counts[7] == data.counts[7] + number - clicks
    stated = np.asarray(problem.program.log_q_batch)
    np.testing.assert_allclose(
        stated, log_effective(counts, np.ones(len(counts))), rtol=1e-6
    )
    assert np.exp(stated[7]) == pytest.approx(counts[7] / counts.sum(), rel=1e-5)


@pytest.mark.parametrize("ranked", [True, False])
def test_the_first_items_of_a_list_are_read(tmp_path, ranked):
    path = tmp_path / "lists.csv"
    config, data = of_world(path, "positives.lists.length=2")
    seen = data.split.train.item[data.split.train.user == 5]
    new = np.setdiff1d(np.arange(data.log.num_items), seen)[:3]
    ids = data.log.item_ids.gather(new)
    table = pl.DataFrame({"user": data.log.user_ids.gather([5, 5, 5]), "item": ids})
    if ranked:
        table = table.with_columns(rank=pl.Series([3, 1, 2]))
    table.write_csv(path)
    expected = new[[1, 2]] if ranked else new[[0, 1]]
    assert pairs(with_lists(config, data)) == {(5, int(item)) for item in expected}


def test_a_listed_item_is_recommended_more(tmp_path):
    """One rare item, listed for half of the users: more of these get it than before."""
    path = tmp_path / "lists.parquet"
    words = ("evaluation.save_topk=true", "training.steps=150", "training.patience=0")
    config, data = of_world(path, *words, "positives.lists.weight=3")
    rare, told = int(np.argmin(data.counts)), data.log.user_ids.gather_every(2)
    lists_of(data, rare, every=2).write_parquet(path)
    shares = []
    for one in (tiny.make_config(tmp_path, *words), config):
        run(one)
        top = pl.read_parquet(run_folder(one) / "topk.parquet")
        holds = top.filter(item=data.log.item_ids[rare])["user"]
        number = holds.is_in(told.implode()).sum()
        shares.append((number, len(holds) - number))
    (before, _), (now, others) = shares
    assert now > 1.5 * before and now > others


REFUSED = {
    "towers.query=[id,history]": "towers.query=[id,history]",
    "training.order=time": "training.order=time",
    "negatives.available=true": "negatives.available=true",
    "negatives=hard": "negatives/hard=log",
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_needs_the_moment_of_a_positive_is_refused(tmp_path, word):
    path = tmp_path / "lists.parquet"
    config, data = of_world(path, word)
    lists_of(data, 7).write_parquet(path)
    with pytest.raises(InputError, match="without a moment") as error:
        with_lists(config, data)
    assert REFUSED[word] in str(error.value) and str(path) in str(error.value)


TABLES = {
    "no_item": ({"user": [1]}, "has no column 'item'; its columns are: user; rename"),
    "unknown": ({"user": ["x"], "item": ["y"]}, "no pair of a user and an item"),
    "ranks": ({"user": [1], "item": [1], "rank": ["first"]}, "column 'rank'"),
}


@pytest.mark.parametrize("name", TABLES)
def test_lists_that_cannot_be_read_are_refused(tmp_path, name):
    path = tmp_path / "lists.parquet"
    config, data = of_world(path)
    with pytest.raises(InputError, match=r"positives\.lists\.path=.* does not exist"):
        with_lists(config, data)
    columns, message = TABLES[name]
    pl.DataFrame(columns).write_parquet(path)
    with pytest.raises(InputError, match=message) as error:
        with_lists(config, data)
    assert str(path) in str(error.value)


def test_a_run_is_not_returned_for_other_lists(tmp_path):
    path = tmp_path / "lists.parquet"
    config, data = of_world(path, "training.steps=2")
    lists_of(data, 7).write_parquet(path)
    run(config)
    run(config)
    lists_of(data, 8).write_parquet(path)
    with pytest.raises(InputError, match="other positives from positives.lists.path"):
        run(config)


def test_a_baseline_reads_no_lists(tmp_path):
    config, data = of_world(tmp_path / "none.parquet")
    towers = replace(config.towers, kind="item_knn")
    assert with_lists(replace(config, towers=towers), data) is data
