"""Downloads and archives that are hostile, damaged or cut off leave nothing."""

import gzip
import io
import tarfile

import pytest
from helpers.downloads import (
    FILES,
    GZ,
    TAR,
    TEXT,
    ZIP,
    damaged,
    refused,
    tarred,
    tree,
    zipped,
)

from twotower_jax.data.public import fetch

REFUSED = {
    "tar up": (TAR, tarred({"ml/../../evil": b"x"}), "outside the destination"),
    "tar link": (TAR, tarred(FILES, ("ml/l", tarfile.SYMTYPE)), "absolute path"),
    "tar hard link": (TAR, tarred(FILES, ("ml/l", tarfile.LNKTYPE)), "absolute path"),
    "tar device": (TAR, tarred(FILES, ("ml/d", tarfile.CHRTYPE)), "special file"),
    "zip bomb": (ZIP, zipped({"a": bytes(9_000), "b": bytes(2_000)}), "more than the"),
    "tar bomb": (TAR, tarred({"a": bytes(10_001)}), "more than the 10,000 bytes"),
    "gz bomb": (GZ, gzip.compress(bytes(10_001)), "unpacks to more than the 10,000"),
    "no zip": (
        ZIP,
        b"<html>not found</html>",
        "zip: cannot be unpacked: .*; fetch",
    ),
    "no tar": (TAR, b"<html>not found</html>", "set.tar.gz: cannot be unpacked"),
    "cut zip": (ZIP, zipped(FILES)[:-40], "set.zip: cannot be unpacked"),
    "cut tar": (TAR, tarred({"a": bytes(range(256)) * 30})[:-90], "cannot be unpacked"),
    "cut gz": (GZ, gzip.compress(b"abc" * 99)[:-9], "ratings.csv.gz: cannot be unpack"),
    "zip with another sum": (ZIP, damaged(zipped({"a": b"xyz"}), 32), "cannot be unpa"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_and_damaged_archives_leave_nothing(get, tmp_path, name):
    file, content, message = REFUSED[name]
    refused(get, tmp_path, message, {file: content})


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_a_zip_file_is_unpacked_inside_its_folder(get, tmp_path, name):
    get({ZIP: zipped({name: b"x", "b": b"y"})})
    assert sorted(tree(tmp_path).values()) == [b"x", b"y"]
    assert all(path.startswith("out/tiny/") for path in tree(tmp_path))


def test_downloads_that_fail(get, server, tmp_path):
    files = {TEXT: b"0 1\n"}
    server.files["longer"] = bytes(3_000_000)
    server.moved = {"gone": "/nowhere", "local": "file:///etc/passwd"}
    for name, message in (
        ("nowhere", "nowhere: cannot be fetched: 404 .*; nothing was kept; check the"),
        ("gone", "gone: cannot be fetched: 404"),
        ("local", "local: cannot be fetched: No connection adapters"),
        ("longer", "sends more than the 10,000 bytes"),
    ):
        refused(get, tmp_path, message, files, addresses=[f"{server.address}/{name}"])
    server.extra = 7
    refused(get, tmp_path, "cannot be fetched: .*4 bytes read, 7 more", files)
    for address in ("file:///etc/passwd", "ftp://a/b", "set.zip", "http://é"):
        message = "--address='.*' is not a web address"
        refused(get, tmp_path, message, files, addresses=[address])
    server.close()
    refused(get, tmp_path, "cannot be fetched: .*refused", files)
    server.close = lambda: None


def test_plain_lines_show_the_rate(get, monkeypatch):
    monkeypatch.setattr(fetch, "PLAIN_SECONDS", -1.0)
    shown = get({TEXT: bytes(2_000_000)}, limit=3_000_000)
    assert "ratings.csv: 2.0 of 2.0 MB" in shown and "s left" in shown


def test_a_keyboard_interrupt_leaves_nothing(get, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "unpack", stop)
    with pytest.raises(KeyboardInterrupt):
        get({TEXT: b"a"})
    assert tree(tmp_path) == {}


def test_a_tar_file_sets_no_rights_of_root(tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        info = tarfile.TarInfo("run.sh")
        info.mode = 0o4777
        archive.addfile(info)
    (tmp_path / TAR).write_bytes(data.getvalue())
    (tmp_path / "new").mkdir()
    fetch.unpack(tmp_path / TAR, tmp_path / "new", 100)
    assert (tmp_path / "new" / "run.sh").stat().st_mode & 0o7022 == 0
