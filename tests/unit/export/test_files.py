"""The folder of an export is complete or absent, and its checksums are SHA-256."""

import hashlib

import pytest

from twotower_jax.errors import InputError
from twotower_jax.export.files import checksums, new_folder


def test_the_checksum_of_a_file(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "manifest.json").write_text("{}")
    digest = hashlib.sha256(content).hexdigest()
    assert checksums(tmp_path) == {"a": {"sha256": digest, "bytes": len(content)}}


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_when_it_is_complete(tmp_path, exists):
    out = tmp_path / "deep" / "out"
    if exists:
        out.mkdir(parents=True)
    with new_folder(out) as place:
        (place / "a").write_text("1")
        assert place.parent == out.parent and not (out / "a").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "a").read_text() == "1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "out") as place:
        (place / "a").write_text("1")
        raise error
    assert not list(tmp_path.iterdir())


def test_what_appeared_meanwhile_is_kept(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is not empty"), new_folder(out) as place:
        (place / "a").write_text("1")
        out.mkdir()
        (out / "b").write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "b").read_text() == "2"


def test_a_folder_with_content_is_refused(tmp_path):
    (tmp_path / "b").write_text("2")
    with pytest.raises(InputError, match="is not empty"), new_folder(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), new_folder(tmp_path / "b"):
        pass
