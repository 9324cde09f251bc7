"""Separators and headers of text, and compressed files."""

import gzip
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from twotower_jax.data.guess.layout import guess_layout, read_sample
from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.sources.layout import Layout
from twotower_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "lines", "layout"),
    [
        ("a.csv", ["user,item", "1,2"], Layout()),
        ("a.tsv", ["user\titem", "1\t2"], Layout()),
        ("a.csv", ["user\titem", "1\t2"], Layout("tab")),
        ("a.txt", ["user,item", "1,2"], Layout("comma")),
        ("a.csv", ["user|item|tags", "1|2|x", "1|3|y,z"], Layout("bar")),
        ("a.csv", ["user,title,n", '1,"A, b",2', '2,"C; d",3'], Layout()),
        ("a.txt", ["1 2 5", "3 4 5"], Layout("space", header=False)),
        ("a.csv", ["ann,hat", "bob,hat", "ann,shoe"], Layout(header=False)),
        ("a.csv", ["left,right", "ann,hat", "bob,hat"], Layout()),
        ("a.csv", ["1,2,4.5", "2,3,5"], Layout(header=False)),
        ("a.csv", ["user;item;sum", "1;2;3,5", "1;3;0,8"], Layout("semicolon")),
        ("a.txt", ["u 1 2 3", "v 1", "w 5 6"], Layout("space", False, "space")),
        (
            "a.txt",
            ["user items", "1 5 6", "2 5 6 7", "3 1"],
            Layout("space", True, "space"),
        ),
    ],
)
def test_layout(name, lines, layout):
    assert guess_layout(lines, Path(name)) == layout


def packed(data, name):
    """Return bytes compressed as the ending of a name demands."""
    if name.endswith(".zst"):
        return pa.compress(data, codec="zstd", asbytes=True)
    return gzip.compress(data) if name.endswith(".gz") else data


@pytest.mark.parametrize(
    "name",
    [
        *("a.csv.gz", "a.csv.zst", "a.jsonl.gz", "a.jsonl.zst"),
        *("a.jsonl", "a.tsv", "a.dat"),
    ],
)
def test_a_sample_of_every_format(name, tmp_path):
    frame = pl.DataFrame({"user": [1, 2, 3], "item": ["x", "y", "z"]})
    if "jsonl" in name:
        data = frame.write_ndjson()
    else:
        data = frame.write_csv(separator="\t" if "csv" not in name else ",")
    path = tmp_path / name
    path.write_bytes(packed(data.encode(), name))
    sample = read_sample(path)
    assert sample.frame["item"].to_list() == ["x", "y", "z"]
    assert sample.frame["user"].cast(pl.Int64).to_list() == [1, 2, 3]
    assert len(read_sample(path, rows=2).frame) == 2


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst", "a.jsonl"])
def test_lines_that_end_with_a_carriage_return_alone(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(packed(b"user,item\r1,2\r2,3\r", name))
    with pytest.raises(InputError, match="with a carriage return alone") as caught:
        read_sample(path)
    plain = (
        f"tr '\\r' '\\n' < {tmp_path / name.removesuffix('.gz').removesuffix('.zst')}"
    )
    assert f"{plain} > NEWFILE" in str(caught.value)


def test_a_carriage_return_within_a_line_is_part_of_its_field(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user,item\n1,x\r\ny\r1,z\n")
    assert read_sample(path).frame["user"].to_list() == ["1", "y\r1"]


def test_recbole_files_are_read_as_a_whole(tmp_path):
    log = tmp_path / "films.inter"
    log.write_text("user_id:token\titem_id:token\trating:float\n1\t2\t3\n")
    guess = guess_log(log, {}, {})
    assert guess.source == "recbole" and guess.keys == {"path": str(tmp_path)}
    assert "every row counts as a positive" in guess.notes[-1]
    assert "data.min_rating" in guess.notes[-1]
    items = tmp_path / "films.item"
    with pytest.raises(InputError, match=r"with its \.item and .* leave --items out"):
        guess_log(log, {"item": items}, {})
    log.write_text("user_id:token\titem_id:token\n1\t2\n")
    assert not any("positive" in note for note in guess_log(log, {}, {}).notes)
