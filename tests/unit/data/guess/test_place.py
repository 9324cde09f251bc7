"""Items that no name gives: requests and columns of few values are taken last."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.guess.log import guess_log
from twotower_jax.errors import InputError

ROWS = 4_000


def searches():
    """Return searches of a query each, with four patterns shown in each."""
    rng = np.random.default_rng(0)
    search = np.repeat(np.arange(ROWS // 4), 4)
    query = rng.integers(0, 50, ROWS // 4)[search]
    return {
        "lookup": pl.Series(search).cast(pl.String).str.pad_start(6, "L"),
        "device": np.array(["old", "new"])[search % 2],
        "query": query,
        "pattern": rng.permuted(np.tile(np.arange(200), ROWS // 200)),
    }


@pytest.mark.parametrize("name", ["lookup", "search"])
def test_ids_with_one_user_each_are_not_the_items(name, tmp_path):
    rows = searches()
    rows = {name if key == "lookup" else key: one for key, one in rows.items()}
    path = tmp_path / "log.parquet"
    pl.DataFrame(rows).write_parquet(path)
    columns = guess_log(path, {}, {}).columns
    assert (columns["user"].name, columns["item"].name) == ("query", "pattern")
    assert ("request" in columns) == (name == "search")


def test_they_are_where_no_other_column_is_left(tmp_path):
    rows = {key: one for key, one in searches().items() if key in ("lookup", "query")}
    path = tmp_path / "log.parquet"
    pl.DataFrame(rows).write_parquet(path)
    assert guess_log(path, {}, {}).columns["item"].name == "lookup"


def test_a_value_for_each_row_is_taken_last(tmp_path):
    path = tmp_path / "log.parquet"
    event = [f"e{i}" for i in range(ROWS)]
    pairs = {"host": np.arange(ROWS) % 90, "part": np.arange(ROWS) % 80}
    pl.DataFrame({"event": event} | pairs).write_parquet(path)
    columns = guess_log(path, {}, {}).columns
    assert (columns["user"].name, columns["item"].name) == ("host", "part")


def test_titles_are_items_where_no_column_has_ids(tmp_path):
    path = tmp_path / "films.csv"
    rows = {"email": [f"u{i % 9}@x" for i in range(40)], "minutes": range(40)}
    titles = {"title": [f"Film {i % 7}" for i in range(40)]}
    pl.DataFrame(rows | titles).write_csv(path)
    columns = guess_log(path, {}, {}).columns
    assert (columns["user"].name, columns["item"].name) == ("email", "title")


@pytest.mark.parametrize("user, item", [("actor", "repo"), ("repo", "package")])
def test_a_repository_is_the_user_where_nobody_else_is_named(user, item, tmp_path):
    path = tmp_path / "pairs.csv"
    pl.DataFrame({item: ["a", "b", "c"], user: ["x", "y", "x"]}).write_csv(path)
    columns = guess_log(path, {}, {}).columns
    assert (columns["user"].name, columns["item"].name) == (user, item)


@pytest.mark.parametrize(
    "rows, message",
    [
        (
            {"user_feature_0": ["a", "b"], "item_id": [1, 2]},
            "nothing looks like a column of users",
        ),
        (
            {"user": [1, 2]} | {f"item_{i}": [0, 1] for i in range(30)},
            "30 of its 31 columns hold 0 and 1 alone, as of a matrix",
        ),
    ],
)
def test_tables_without_a_column_of_users_or_items(rows, message, tmp_path):
    path = tmp_path / "log.parquet"
    pl.DataFrame(rows).write_parquet(path)
    with pytest.raises(InputError, match=message):
        guess_log(path, {}, {})
