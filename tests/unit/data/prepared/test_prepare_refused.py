"""Refusals of a preparation and of a prepared folder, and killed preparations."""

import collections
import json
import shutil

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.prepared import chunks
from twotower_jax.data.prepared.index import INDEX, checksums, read_index
from twotower_jax.data.prepared.load import load, stored_split
from twotower_jax.data.prepared.prepare import WORK, prepare
from twotower_jax.errors import InputError

NUMBER = 100


def quiet(*words):
    del words


def log_file(path, seed=0):
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, 15, NUMBER) for name in ("user", "item", "time")}
    pl.DataFrame(columns).write_csv(path)
    return DataConfig(
        source="table",
        path=str(path),
        split="ratio",
        columns=ColumnsConfig(time="time"),
    )


def prepared(folder, **keys):
    return DataConfig(source="prepared", path=str(folder), split="given", **keys)


class Killed(BaseException):
    """A process that ends at once."""


def killed_after(calls):
    """Return a `say` that ends the preparation at one of its calls."""
    counted = collections.Counter()

    def say(*words):
        del words
        counted["calls"] += 1
        if counted["calls"] == calls:
            raise Killed

    return say


def test_a_killed_preparation_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 17)
    monkeypatch.setattr(chunks, "GROUP", 2)
    config = log_file(tmp_path / "log.csv")
    right = prepare(config, tmp_path / "right", quiet)
    ends = 0
    for calls in range(1, 40):
        folder = tmp_path / f"{calls}"
        try:
            prepare(config, folder, killed_after(calls))
            break
        except Killed:
            ends += 1
        with pytest.raises(
            InputError, match=r"holds no prepared.json: it is unfinished"
        ):
            load(prepared(folder))
        before = {one.name: one.stat().st_mtime_ns for one in (folder / WORK).iterdir()}
        index = prepare(config, folder, quiet)
        assert index["checksums"] == right["checksums"]
        assert index["fingerprint"] == right["fingerprint"]
        assert not (folder / WORK).exists()
        assert before or calls == 1
    assert ends > 15


def test_chunks_that_are_there_are_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 10)
    config = log_file(tmp_path / "log.csv")
    with pytest.raises(Killed):
        prepare(config, tmp_path / "out", killed_after(5))
    said = []
    prepare(config, tmp_path / "out", lambda *words: said.append(words))
    read = [done for what, done, _ in said if what == "rows read"]
    assert read == [60, 70, 80, 90, 100]


@pytest.mark.parametrize("place", [0, 4, -1])
def test_a_chunk_that_is_missing_is_read_again(place, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 10)
    config = log_file(tmp_path / "log.csv")
    right = prepare(config, tmp_path / "right", quiet)
    with pytest.raises(Killed):
        prepare(config, tmp_path / "out", killed_after(13))  # amid the codes
    sorted((tmp_path / "out" / WORK).glob("*.parquet"))[place].unlink()
    made = prepare(config, tmp_path / "out", quiet)
    assert made["checksums"] == right["checksums"]


def test_a_damaged_chunk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 10)
    config = log_file(tmp_path / "log.csv")
    with pytest.raises(Killed):
        prepare(config, tmp_path / "out", killed_after(5))
    work = tmp_path / "out" / WORK
    first = min(work.glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:50])
    (work / "notes.parquet").write_text("of the user")
    with pytest.raises(InputError, match=f"{first.name} is damaged: .*; remove it"):
        prepare(config, tmp_path / "out", quiet)
    first.unlink()  # the remedy of the message; the mark of a finished table stays
    prepare(config, tmp_path / "out", quiet)
    right = prepare(config, tmp_path / "right", quiet)
    assert read_index(tmp_path / "out" / INDEX)["checksums"] == right["checksums"]


def test_the_same_again_does_nothing(tmp_path):
    config = log_file(tmp_path / "log.csv")
    first = prepare(config, tmp_path / "out", quiet)
    said = []
    assert prepare(config, tmp_path / "out", lambda *w: said.append(w)) == first
    assert not said


def test_remains_of_a_kill_at_the_end_are_removed(tmp_path):
    config = log_file(tmp_path / "log.csv")
    prepare(config, tmp_path / "out", quiet)
    (tmp_path / "out" / WORK).mkdir()
    (tmp_path / "out" / "begun.json").write_text("{}")
    prepare(config, tmp_path / "out", quiet)
    names = {one.name for one in (tmp_path / "out").iterdir()}
    assert names == {INDEX, "log", "train", "valid", "test", "histories", "known"}


def test_a_folder_with_something_else_is_kept(tmp_path):
    config = log_file(tmp_path / "log.csv")
    prepare(config, tmp_path / "out", quiet)
    other = log_file(tmp_path / "log.csv")
    other.test_share = 0.3
    with pytest.raises(InputError, match=r"out holds data prepared with other keys"):
        prepare(other, tmp_path / "out", quiet)
    log_file(tmp_path / "log.csv", seed=1)
    with pytest.raises(InputError, match=r"before they changed; give another --out"):
        prepare(config, tmp_path / "out", quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("text")
    with pytest.raises(InputError, match=r"mine exists and is not empty; give another"):
        prepare(config, tmp_path / "mine", quiet)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "text"
    with pytest.raises(InputError, match=r"log.csv exists and is not empty"):
        prepare(config, tmp_path / "log.csv", quiet)


def test_a_disk_without_space_is_refused(tmp_path, monkeypatch):
    config = log_file(tmp_path / "log.csv")
    usage = collections.namedtuple("usage", "free")(10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        InputError, match=r"out needs up to .* MB, and its disk has 0.0"
    ):
        prepare(config, tmp_path / "out", quiet)


@pytest.mark.parametrize(
    "name", ["log/user.npy", "train/item.npy", "log/item_ids.parquet"]
)
def test_a_changed_array_is_named(name, tmp_path):
    prepare(log_file(tmp_path / "log.csv"), tmp_path / "out", quiet)
    content = bytearray((tmp_path / "out" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} has another checksum than when"):
        stored_split(prepared(tmp_path / "out"))


def test_a_missing_or_additional_array_is_named(tmp_path):
    prepare(log_file(tmp_path / "log.csv"), tmp_path / "out", quiet)
    (tmp_path / "out/test/user.npy").unlink()
    with pytest.raises(InputError, match=r"test/user.npy is missing; prepare"):
        load(prepared(tmp_path / "out"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[1]", "is damaged: no JSON object"),
        ('{"format": 99}', "is of format 99, and this version reads 1"),
        ('{"format": 1}', "is damaged: data is wrong; prepare it again"),
    ],
)
def test_a_wrong_index_is_named(content, message, tmp_path):
    prepare(log_file(tmp_path / "log.csv"), tmp_path / "out", quiet)
    (tmp_path / "out" / INDEX).write_text(content)
    with pytest.raises(InputError, match=message):
        load(prepared(tmp_path / "out"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"test_share": 0.3}, r"data.test_share=0.3 is decided .* has 0.1"),
        ({"repeats": "first"}, r"data.repeats=first is decided when data are prepared"),
        ({"until": "7"}, r"data.until=7 is decided"),
        ({"columns": ColumnsConfig(weight="w")}, r"positives.weight=w is not a column"),
        ({"columns": ColumnsConfig(time="at")}, r"leave data.columns out"),
    ],
)
def test_keys_that_were_decided_are_refused(keys, message, tmp_path):
    prepare(log_file(tmp_path / "log.csv"), tmp_path / "out", quiet)
    with pytest.raises(InputError, match=message):
        load(prepared(tmp_path / "out", **keys))


def test_a_bad_value_names_the_row_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 10)
    config = log_file(tmp_path / "log.csv")
    text = (tmp_path / "log.csv").read_text().splitlines()
    text[34] = "1,2,never"
    (tmp_path / "log.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(InputError, match=r"log.csv, from row 31 on: row 4, .*'never'"):
        prepare(config, tmp_path / "out", quiet)


def test_no_pickle_is_read(tmp_path):
    prepare(log_file(tmp_path / "log.csv"), tmp_path / "out", quiet)
    np.save(tmp_path / "out/log/user.npy", np.array([{}], object), allow_pickle=True)
    path = tmp_path / "out" / INDEX
    index = json.loads(path.read_text())
    index["checksums"] = checksums(tmp_path / "out")
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"user.npy is damaged"):
        load(prepared(tmp_path / "out"))


def test_a_misspelt_column_is_corrected_in_the_same_folder(tmp_path):
    config = log_file(tmp_path / "log.csv")
    wrong = log_file(tmp_path / "log.csv")
    wrong.columns = ColumnsConfig(user="usr", time="time")
    with pytest.raises(InputError, match=r"no column 'usr'.*did you mean 'user'"):
        prepare(wrong, tmp_path / "out", quiet)
    made = prepare(config, tmp_path / "out", quiet)
    assert made == prepare(config, tmp_path / "other", quiet)


def test_rows_of_other_keys_are_kept(tmp_path):
    config = log_file(tmp_path / "log.csv")
    other = log_file(tmp_path / "log.csv")
    other.test_share = 0.3
    with pytest.raises(Killed):
        prepare(config, tmp_path / "out", killed_after(2))
    with pytest.raises(InputError, match=r"out holds data prepared with other keys"):
        prepare(other, tmp_path / "out", quiet)
    prepare(config, tmp_path / "out", quiet)
