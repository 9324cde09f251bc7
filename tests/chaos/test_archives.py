"""Random hostile archives: refused by one message, or unpacked inside the folder."""

import gzip
import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from helpers.chaos import campaign, trials

from twotower_jax.data.public.unpack import HEADERS, MEMBERS, unpack
from twotower_jax.errors import InputError

LIMIT = 10_000
NAMES = (
    *(
        "a",
        "b/c",
        "b/d",
        "b/c",
        "b",
        "j/d",
        "./e",
        "f//g",
        "ü",
        "con",
        "h i",
        ".hidden",
    ),
    *("../up", "b/../../up", "/absolute", "..", ".", "", "/", "b\\..\\up", "C:up"),
    *("\0", "x\0y", "line\nbreak", "\x1b[31mred", "~", "$(up)", "._mac", "__MACOSX/m"),
    *("n" * 5_000, "p/" * 2_000 + "q", "r/" * 40 + "s", "n" * 300, "../" * 99 + "up"),
)
CONTENTS = (b"", b"x" * 10, b"y" * 4_000, b"z" * 9_999, bytes(3_000_000))
TYPES = (
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE),
    *(tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE),
    *(
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"?",
    ),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME),
)
MODES = (0, 0, 0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO)


def pick(rng, values, harmless=0):
    """Return a random value; mostly one of the first, where some are harmless."""
    if harmless and rng.random() < 0.8:
        values = values[:harmless]
    return values[rng.integers(len(values))]


def zipped(rng):
    """Return a zip file of up to four random members."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for _ in range(rng.integers(1, 5)):
            info = zipfile.ZipInfo(pick(rng, NAMES, 12) + "/" * (rng.random() < 0.2))
            info.external_attr = (pick(rng, MODES, 4) | 0o6777) << 16
            archive.writestr(info, pick(rng, CONTENTS, 3), zipfile.ZIP_DEFLATED)
    return "set.zip", data.getvalue()


def tarred(rng):
    """Return a tar file of up to four random members, of any type."""
    data = io.BytesIO()
    form = int(pick(rng, (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
    with tarfile.open(fileobj=data, mode="w:gz", format=form) as archive:
        for _ in range(rng.integers(1, 5)):
            info, content = (
                tarfile.TarInfo(pick(rng, NAMES, 12)),
                pick(rng, CONTENTS, 3),
            )
            info.type, info.mode, info.size = pick(rng, TYPES, 4), 0o6777, len(content)
            info.linkname = str(pick(rng, NAMES))[:90]
            archive.addfile(info, io.BytesIO(content))
    return "set.tar.gz", data.getvalue()


def damaged(rng, name, content):
    """Return an archive, one in three with a byte flipped or its end cut."""
    kind, changed = rng.integers(6), bytearray(content)
    if name.endswith(".gz") and kind == 0:
        changed = bytearray(gzip.decompress(content))
    if kind < 2:
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del changed[rng.integers(len(changed)) :]
    if name.endswith(".gz") and kind == 0:
        changed = bytearray(gzip.compress(bytes(changed)))
    return bytes(changed)


def check_inside(folder):
    """Assert plain files that are not executable, of at most the limit together."""
    total = 0
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not mode & 0o7111), path
        total += path.lstat().st_size * stat.S_ISREG(mode)
    assert total <= LIMIT
    return total


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_no_archive_leaves_its_folder(tmp_path):
    rng, unpacked, refused = np.random.default_rng(0), 0, 0
    (tmp_path / "up").write_text("kept")
    with campaign("hostile archives") as counts:
        for number in range(trials(20_000)):
            name, content = pick(rng, (zipped, tarred))(rng)
            place = tmp_path / f"{number}"
            place.mkdir()
            (place / name).write_bytes(damaged(rng, name, content))
            (place / "new").mkdir()
            try:
                written = unpack(place / name, place / "new", LIMIT)
                assert check_inside(place / "new") == written, number
                unpacked += 1
            except InputError as error:
                text = str(error)
                assert text.startswith(f"{name}: ") and "\n" not in text, number
                assert len(text) < 1500, (number, text)
                check_inside(place / "new")
                refused += 1
            assert {one.name for one in place.iterdir()} == {"new", name}, number
            assert {one.name for one in tmp_path.iterdir()} == {"up", f"{number}"}
            remove(place)
        assert (tmp_path / "up").read_text() == "kept"
        counts |= {"trials": unpacked + refused, "unpacked": unpacked}
        counts |= {"refused": refused}
    assert unpacked and refused


def remove(place):
    """Remove a folder from its deepest entries on."""
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    place.rmdir()


class Counted:
    """A file that counts the bytes that are read from it."""

    def __init__(self, file):
        self._file, self.read_bytes = file, 0

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def read(self, size=-1):
        found = self._file.read(size)
        self.read_bytes += len(found)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "passed over", "zeros", "header"])
def test_a_bomb_is_read_up_to_the_limit(kind, tmp_path, monkeypatch):
    """Of 400 MB in 0.4 MB, no more is read than limit and headers allow."""
    size, opened, gzip_open = 400_000_000, [], gzip.open
    info = tarfile.TarInfo("._x" if kind == "passed over" else "x")
    info.type = tarfile.XHDTYPE if kind == "header" else tarfile.REGTYPE
    info.size = 0 if kind == "zeros" else size
    with gzip.GzipFile(tmp_path / "set.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(size // 1_000_000):
            file.write(bytes(1_000_000))
    (tmp_path / "new").mkdir()

    def counted(path):
        opened.append(Counted(gzip_open(path)))
        return opened[-1]

    monkeypatch.setattr(gzip, "open", counted)
    with pytest.raises(InputError, match=r"more than the 10,000 bytes|a header of"):
        unpack(tmp_path / "set.tar.gz", tmp_path / "new", LIMIT)
    assert opened[0].read_bytes <= LIMIT + MEMBERS * HEADERS + (2 << 20)
    check_inside(tmp_path / "new")
