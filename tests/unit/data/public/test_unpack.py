"""Archives: hostile and damaged ones leave nothing."""

import gzip
import io
import tarfile
import zipfile

import pytest
from helpers.downloads import FILES, GZ, TAR, ZIP, damaged, refused, tarred, zipped

from twotower_jax.data.public.unpack import unpack
from twotower_jax.errors import InputError

HOSTILE = {
    "zip up": (ZIP, zipped({"../evil": b"x"}), "member '../evil' leads out of the fol"),
    "zip within": (ZIP, zipped({"a/../../evil": b"x"}), "leads out of the folder"),
    "zip absolute": (ZIP, zipped({"/tmp/evil": b"x"}), "leads out of the folder"),
    "zip backslash": (ZIP, zipped({"..\\evil": b"x"}), "leads out of the folder"),
    "zip drive": (ZIP, zipped({"C:evil": b"x"}), "leads out of the folder"),
    "zip link": (ZIP, zipped(FILES, link="ml/link"), "'ml/link' is a link or a device"),
    "tar up": (TAR, tarred({"ml/../../evil": b"x"}), "leads out of the folder"),
    "tar absolute": (TAR, tarred({"/tmp/evil": b"x"}), "leads out of the folder"),
    "tar link": (
        TAR,
        tarred(FILES, ("ml/l", tarfile.SYMTYPE)),
        "'ml/l' is a link or a",
    ),
    "tar hard link": (
        TAR,
        tarred(FILES, ("ml/l", tarfile.LNKTYPE)),
        "is a link or a d",
    ),
    "tar device": (TAR, tarred(FILES, ("ml/d", tarfile.CHRTYPE)), "is a link or a dev"),
    "tar pipe": (TAR, tarred(FILES, ("ml/p", tarfile.FIFOTYPE)), "is a link or a devi"),
    "zip bomb": (
        ZIP,
        zipped({"a": bytes(9_000), "b": bytes(2_000)}),
        "more than the 10",
    ),
    "tar bomb": (TAR, tarred({"a": bytes(10_001)}), "more than the 10,000 bytes"),
    "gz bomb": (
        GZ,
        gzip.compress(bytes(10_001)),
        "unpacks to more than the 10,000 byt",
    ),
    "no zip": (
        ZIP,
        b"<html>not found</html>",
        "set.zip: cannot be unpacked: .*; fetch",
    ),
    "no tar": (TAR, b"<html>not found</html>", "set.tar.gz: cannot be unpacked"),
    "cut zip": (ZIP, zipped(FILES)[:-40], "set.zip: cannot be unpacked"),
    "cut tar": (TAR, tarred({"a": bytes(range(256)) * 30})[:-90], "cannot be unpacked"),
    "cut gz": (GZ, gzip.compress(b"abc" * 99)[:-9], "ratings.csv.gz: cannot be unpack"),
    "zip without a name": (ZIP, zipped({".": b"x"}), "member '.' leads out of the fol"),
    "zip with an empty name": (
        ZIP,
        zipped({"": b"x"}),
        "member '' leads out of the fol",
    ),
    "zip of other letters": (
        ZIP,
        zipped({"é": b"x"}).replace("é".encode(), b"\xff\xff"),
        "set.zip: cannot be unpacked",
    ),
    "tar whose second file is damaged": (
        TAR,
        gzip.compress(damaged(gzip.decompress(tarred({"a": b"x", "b": b"y"})), 1_030)),
        "set.tar.gz: cannot be unpacked: bytes that are not a file",
    ),
    "tar with another sum": (
        TAR,
        damaged(tarred({"a": b"x"}), -8),
        "set.tar.gz: cannot be unpacked: CRC",
    ),
    "folder as file": (ZIP, zipped({"a": b"x", "a/b": b"y"}), "cannot be unpacked"),
}


def long_header(kind):
    """Return a small tar file with a header of 2 MB, such as a name."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2 << 20
    return gzip.compress(info.tobuf() + bytes(info.size))


TOO_LONG = {
    "long name": (ZIP, zipped({"n" * 2_000: b"x"}), "a name of 2,000 letters"),
    "long name in a tar": (TAR, tarred({"n" * 5_000: b"x"}), "a name of 5,000 letters"),
    "nest": (ZIP, zipped({"a/" * n: b"" for n in range(1, 60)}), "in 51 folders"),
    "pax header": (TAR, long_header(tarfile.XHDTYPE), "a header of 2,097,152 bytes"),
    "name": (TAR, long_header(tarfile.GNUTYPE_LONGNAME), "a header of 2,097,152 bytes"),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_names_and_headers_that_are_too_long_leave_nothing(get, tmp_path, name):
    file, content, message = TOO_LONG[name]
    refused(get, tmp_path, message, {file: content}, limit=100_000)


@pytest.mark.parametrize("kind", ["skipped", "zeros"])
def test_what_a_tar_file_holds_beside_its_files_is_limited(
    kind, get, tmp_path, monkeypatch
):
    """A file of macOS that is passed over, or zeros after the end: both of 1 MB."""
    monkeypatch.setattr("twotower_jax.data.public.unpack.HEADERS", 1)
    info = tarfile.TarInfo("._x" if kind == "skipped" else "x")
    info.size = (1 << 20) * (kind == "skipped")
    content = gzip.compress(info.tobuf() + bytes(1 << 20) + bytes(1024))
    refused(get, tmp_path, "unpacks to more than the 10,000 bytes", {TAR: content})


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_archives_leave_nothing(get, tmp_path, name):
    file, content, message = HOSTILE[name]
    refused(get, tmp_path, message, {file: content})


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_comes_twice_is_refused(get, tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a", b"first")
        archive.writestr("a", b"second")
    refused(get, tmp_path, "cannot be unpacked", {ZIP: data.getvalue()})


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("twotower_jax.data.public.unpack.MEMBERS", 3)
    (tmp_path / ZIP).write_bytes(zipped({f"{i}": b"" for i in range(4)}))
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="holds more than 3 files"):
        unpack(tmp_path / ZIP, tmp_path / "new", 100)


def test_files_are_not_executable(tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        info = tarfile.TarInfo("run.sh")
        info.mode = 0o4777
        archive.addfile(info)
    (tmp_path / TAR).write_bytes(data.getvalue())
    (tmp_path / "new").mkdir()
    unpack(tmp_path / TAR, tmp_path / "new", 100)
    assert (tmp_path / "new" / "run.sh").stat().st_mode & 0o7111 == 0
