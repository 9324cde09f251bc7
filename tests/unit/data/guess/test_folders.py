"""Logs in the tables of a folder, such as one file for each day."""

import polars as pl
import pytest

from twotower_jax.config.convert import from_dict
from twotower_jax.data.guess import layout
from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.sources import load
from twotower_jax.errors import InputError

HEADS = ("visitor,sku,ts,event", "ts,event,visitor,sku")


def write_days(folder, events=("view", "buy")):
    """Write two days of three rows, whose columns have different orders."""
    for day, (head, event) in enumerate(zip(HEADS, events, strict=True)):
        rows = [
            {"visitor": f"v{n % 2}", "sku": f"{n:03d}", "ts": f"2024-05-0{day + 1}"}
            for n in range(3 * day, 3 * day + 3)
        ]
        order = head.split(",")
        lines = [",".join((row | {"event": event})[c] for c in order) for row in rows]
        (folder / f"day-{day}.csv").write_text("\n".join([head, *lines]) + "\n")


def test_the_tables_of_a_folder_are_one_log(tmp_path):
    write_days(tmp_path)
    (tmp_path / "_SUCCESS").write_text("")
    guess = guess_log(tmp_path, {}, {})
    found = {role: column.name for role, column in guess.columns.items()}
    assert found["user"] == "visitor" and found["item"] == "sku"
    assert found["time"] == "ts" and guess.keys["path"] == str(tmp_path)
    assert guess.unused == ("event",)
    data = {"source": guess.source, "path": str(tmp_path)}
    columns = {k.partition(".")[2]: v for k, v in guess.keys.items() if "columns" in k}
    log = load(from_dict({"data": data | {"columns": columns}}).data)
    assert log.num_users == 2 and log.num_items == 6


def test_events_of_later_tables_are_read_too(tmp_path):
    write_days(tmp_path)
    (note,) = (n for n in guess_log(tmp_path, {}, {}).notes if "event" in n)
    assert "view 50%" in note and "buy 50%" in note


def test_no_more_rows_than_the_sample_are_read(tmp_path, monkeypatch):
    write_days(tmp_path)
    monkeypatch.setattr(layout, "SAMPLE", 3)
    (tmp_path / "day-1.csv").write_bytes(b"\x00\xff")  # would be refused
    assert len(layout.read_log_sample(tmp_path).frame) == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("b.parquet", r"folder with tables of several formats: \.csv, \.parquet"),
        ("b.csv", r"b\.csv: has one column only"),
    ],
)
def test_tables_that_do_not_go_together(tmp_path, other, message):
    (tmp_path / "a.csv").write_text("user,item\na,x\nb,y\n")
    (tmp_path / other).write_text("user\na\n")
    with pytest.raises(InputError, match=message):
        guess_log(tmp_path, {}, {})


def test_a_column_of_two_types(tmp_path):
    lists = pl.DataFrame({"user": ["a"], "item": [[1, 2]]})
    lists.write_parquet(tmp_path / "a.parquet")
    lists.with_columns(item=pl.lit(1)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: a column has another type"):
        guess_log(tmp_path, {}, {})
