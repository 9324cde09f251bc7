"""Text files: the old one or the whole new one, also while it is replaced."""

import errno
import json
import math
import time

import pytest

from twotower_jax.data.text_files import read_text, write_json, write_text
from twotower_jax.study.description import FILE, read_description


def test_values_without_a_number_become_null(tmp_path):
    values = {"a": math.nan, "b": [1.5, math.nan], "c": {"d": (2, math.nan)}, "e": None}
    write_json(tmp_path / "x.json", values)
    values = json.loads((tmp_path / "x.json").read_text())
    assert values == {"a": None, "b": [1.5, None], "c": {"d": [2, None]}, "e": None}


def test_infinity_is_refused_rather_than_written(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": math.inf})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_a_write_that_breaks_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    seen = []

    def broken(self, content):
        # As a kill in the middle of writing: half of the text is on the disk.
        with self.open("wb") as file:
            file.write(content[:2])
        seen.append(self)
        raise OSError("no space left")

    monkeypatch.setattr(type(path), "write_bytes", broken)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "newer")
    assert path.read_text() == "old"
    assert seen[0].parent == path.parent and seen[0] != path
    monkeypatch.undo()
    write_text(path, "newest")
    assert path.read_text() == "newest"
    assert [one.name for one in path.parent.iterdir()] == ["file.txt"]


def test_what_utf8_cannot_encode_becomes_a_question_mark(tmp_path):
    assert read_text(write_text(tmp_path / "a.txt", "ä\udc80")) == "ä?"


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """Return a list; each error in it is raised by a read of a file, once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    errors, read = [], type(tmp_path).read_text

    def stale(path, *words, **more):
        if errors:
            raise errors.pop()
        return read(path, *words, **more)

    monkeypatch.setattr(type(tmp_path), "read_text", stale)
    return errors


def test_a_file_that_another_host_replaces_is_read_again(tmp_path, replaced):
    write_text(tmp_path / FILE, '{"question": "Which?"}')
    replaced += [OSError(errno.ESTALE, "Stale file handle")] * 3
    assert read_description(tmp_path).question == "Which?" and not replaced


def test_other_errors_of_a_read_are_not_tried_again(tmp_path, replaced):
    path = write_text(tmp_path / "a.txt", "a")
    replaced += [OSError(errno.EIO, "Input/output error")] * 2
    with pytest.raises(OSError, match="Input/output"):
        read_text(path)
    assert len(replaced) == 1
