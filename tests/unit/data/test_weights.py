"""Weights of positives from a column: wrong ones are refused with key and remedy."""

from dataclasses import replace

import polars as pl
import pytest
from helpers.csv_tables import table, write

from twotower_jax.config import from_dict
from twotower_jax.data import sources
from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.split import split
from twotower_jax.data.summary import data_fingerprint, weights_fingerprint
from twotower_jax.errors import InputError

HEADER = "user,item,time,clicked,grade\n"
ROWS = ("u1,7,1,1,2.5", "u1,8,2,0,", "u2,7,3,1,0", "u2,9,4,1,4", "u1,9,5,1,3")


def load(folder, *rows, weight="grade", **columns):
    path = write(folder, "clicks.csv", HEADER + "\n".join(rows) + "\n")
    columns = {"clicked": "clicked", "time": "time", "weight": weight} | columns
    return sources.load(table(path, columns, split="temporal", test_share=0.3))


def test_weights_are_read_for_positives_and_follow_them_into_the_parts(tmp_path):
    log = load(tmp_path, *ROWS)
    assert log.weight.tolist() == [2.5, 0, 0, 4, 3]
    parts = split(log, DataConfig(split="temporal", test_share=0.3, valid_share=0))
    assert parts.train.weight.tolist() == [2.5, 0, 4]
    assert parts.test.weight.tolist() == [3]


def test_rows_that_are_left_out_take_their_weights_along(tmp_path):
    config = table(
        write(tmp_path, "clicks.csv", HEADER + "\n".join(ROWS) + "\n"),
        {"clicked": "clicked", "time": "time", "weight": "grade"},
        min_item_positives=2,
    )
    assert sources.load(config).weight.tolist() == [2.5, 0, 4, 3]
    earlier = sources.load(replace(config, min_item_positives=1, until="4"))
    assert earlier.weight.tolist() == [2.5, 0, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "u1,7,6,1,",
            "row 6, column 'grade': an empty value is not allowed; positives",
        ),
        ("u1,7,6,1,-1", "row 6, column 'grade': .*-1.* is negative; positives.weight="),
        ("u1,7,6,1,good", "'good' is not a number; .* .positives.weight=grade"),
        ("u1,7,6,1,inf", "inf.* is infinite; .* .positives.weight=grade"),
    ],
)
def test_a_wrong_weight_is_named_with_its_row_key_and_remedy(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, *ROWS, row)


def test_a_missing_column_is_named_with_the_key(tmp_path):
    with pytest.raises(
        InputError, match=r"no column 'grades' \(positives\.weight=gr.*"
    ):
        load(tmp_path, *ROWS, weight="grades")


def test_sources_without_columns_of_numbers_refuse_a_weight():
    with pytest.raises(InputError, match="positives.weight=grade .*'simulator'.*: tab"):
        sources.load(DataConfig(columns=ColumnsConfig(weight="grade")))


def test_the_column_is_named_once():
    named = from_dict({"positives": {"weight": "grade"}})
    assert named.data.columns.weight == "grade"
    for weight in ("grade", None):
        words = {"positives": {"weight": weight}, "data": {"columns": {"weight": "w"}}}
        text = f"data.columns.weight=w has .*positives.weight={weight or 'null'},"
        with pytest.raises(InputError, match=text):
            from_dict(words)


def test_weights_are_no_part_of_the_identity_of_the_data(tmp_path):
    """Runs with and without them compare; other weights are another hash."""
    config = DataConfig(split="temporal", test_share=0.3, valid_share=0)
    logs = [
        load(tmp_path, *ROWS),
        load(tmp_path, *ROWS, weight=None),
        load(tmp_path, "u1,7,1,1,9", *ROWS[1:]),
    ]
    parts = [split(log, config) for log in logs]
    data = {data_fingerprint(log, part) for log, part in zip(logs, parts, strict=True)}
    assert len(data) == 1
    weights = [weights_fingerprint(part) for part in parts]
    assert weights[1] is None and len(set(weights)) == 3


def test_lists_of_items_have_lists_of_weights(tmp_path):
    frame = pl.DataFrame(
        {"user": [1, 2], "item": [[7, 8], [7]], "watched": [[3.0, 0.0], [5.0]]}
    )
    path = tmp_path / "lists.parquet"
    frame.write_parquet(path)
    config = table(str(path), {"weight": "watched"})
    assert sources.load(config).weight.tolist() == [3, 0, 5]


def test_ratings_of_movielens_weigh_positives(tmp_path):
    text = "userId,movieId,rating,timestamp\n1,7,4.5,10\n1,8,2.0,11\n2,7,3.5,12\n"
    write(tmp_path, "ratings.csv", text)
    movies = "movieId,title,genres\n7,A (1999),Drama\n8,B (2001),Comedy\n"
    write(tmp_path, "movies.csv", movies)
    columns = ColumnsConfig(weight="rating")
    config = DataConfig(source="movielens", path=str(tmp_path), columns=columns)
    assert sources.load(config).weight.tolist() == [4.5, 2, 3.5]
    assert sources.load(replace(config, min_rating=3)).weight.tolist() == [4.5, 0, 3.5]
    wrong = replace(config, columns=ColumnsConfig(weight="stars"))
    with pytest.raises(InputError, match=r"'stars' \(positives.weight=stars\)"):
        sources.load(wrong)
