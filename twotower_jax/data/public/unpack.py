"""Unpacking of archives inside one folder, up to a size limit, without links."""

import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Protocol, cast

from twotower_jax.errors import InputError
from twotower_jax.registry import Registry

CHUNK = 1 << 20
MEMBERS = 20_000
HEADERS = 4096  # bytes of a tar file for each member beside its content, at most
FOLDERS, LETTERS = 50, 1_000  # of the name of a member, at most
# Exceptions for files that are damaged, encrypted or not archives.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,  # a name or a header that cannot be decoded
)


class Content(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        ...


class Member(NamedTuple):
    """One entry of an archive.

    Attributes:
      name: path inside the archive.
      content: stream of its bytes; None unless it is a file.
      kind: "file", "folder" or "a link or a device".
    """

    name: str
    content: Content | None
    kind: str


def _zip(path: Path, _: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield Member(info.filename, None, "a link or a device")
            elif info.filename.endswith("/"):  # is_dir() fails without a name
                yield Member(info.filename, None, "folder")
            else:
                with archive.open(info) as content:
                    yield Member(info.filename, content, "file")


class _Bounded:
    """A stream of a tar file, which a small archive may make endless.

    Contents that are passed over, long headers and the zeros at the end count too.
    """

    def __init__(self, stream: gzip.GzipFile, name: str, limit: int):
        self._stream, self._name, self._limit = stream, name, limit
        self.tell = stream.tell

    def _check(self, end: int) -> None:
        if end > self._limit + MEMBERS * HEADERS:
            raise _too_large(self._name, self._limit)

    def read(self, size: int) -> bytes:
        if size > CHUNK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self._check(self.tell())
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        self._check(place)
        return self._stream.seek(place)


def _tar(path: Path, limit: int) -> Iterator[Member]:
    with gzip.open(path) as file:
        yield from _members(_Bounded(file, path.name, limit))


def _members(stream: _Bounded) -> Iterator[Member]:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        for info in archive:
            if info.isdir():
                yield Member(info.name, None, "folder")
            elif info.isfile():
                yield Member(info.name, archive.extractfile(info), "file")
            else:
                yield Member(info.name, None, "a link or a device")
        # A damaged header ends an archive as zeros do, and the checksum of a gzip
        # file is only verified at its end: read the rest.
        stream.seek(archive.offset)
        while chunk := stream.read(CHUNK):
            if chunk.strip(b"\0"):
                raise tarfile.ReadError("bytes that are not a file follow the files")


def _gzip(path: Path, _: int) -> Iterator[Member]:
    with gzip.open(path) as content:
        yield Member(path.name.removesuffix(".gz"), content, "file")


def _plain(path: Path, _: int) -> Iterator[Member]:
    with path.open("rb") as content:
        yield Member(path.name, content, "file")


# By the end of a file's name; the first that matches, so that "" copies the rest.
Reader = Callable[[Path, int], Iterator[Member]]
FORMATS: Registry[Reader] = Registry(
    "ending of a file",
    {".zip": _zip, ".tar.gz": _tar, ".tgz": _tar, ".gz": _gzip, "": _plain},
)


def _place(folder: Path, member: Member, archive: str) -> Path:
    """Return the path of a member inside the folder."""
    name = member.name
    if len(name) > LETTERS or name.count("/") > FOLDERS:
        raise InputError(
            f"{archive}: its member {name[:40]!r}... has a name of {len(name):,} "
            f"letters in {name.count('/'):,} folders; nothing was kept; do not trust "
            "this file"
        )
    pure = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    nameless = member.kind == "file" and not pure.parts
    if odd or nameless or pure.is_absolute() or ".." in pure.parts:
        raise InputError(
            f"{archive}: its member {name!r} leads out of the folder; nothing was "
            "kept; do not trust this file"
        )
    return folder.joinpath(*pure.parts)


def unpack(path: Path, folder: Path, limit: int) -> int:
    """Unpack a file into a folder."""
    read = next(read for end, read in FORMATS.items() if path.name.endswith(end))
    written = 0
    try:
        for number, member in enumerate(read(path, limit), start=1):
            place = _place(folder, member, path.name)
            if number > MEMBERS:
                raise InputError(
                    f"{path.name}: holds more than {MEMBERS:,} files; nothing was kept"
                )
            if member.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
            elif member.kind != "file":
                raise InputError(
                    f"{path.name}: its member {member.name!r} is {member.kind}; "
                    "nothing was kept; do not trust this file"
                )
            elif member.content is not None and not _of_macos(place, folder):
                left = limit - written
                written += _copy(member.content, place, left, path.name, limit)
    except InputError:
        raise
    except BROKEN as error:
        text = str(error).strip().split("\n")[0][:200]
        raise InputError(
            f"{path.name}: cannot be unpacked: {text}; fetch it again"
        ) from None
    return written


def _of_macos(place: Path, folder: Path) -> bool:
    """Return whether a file is one that macOS adds to archives."""
    parts = place.relative_to(folder).parts
    return "__MACOSX" in parts or parts[-1].startswith("._")


def _copy(content: Content, place: Path, left: int, name: str, limit: int) -> int:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with place.open("xb") as file:
        while chunk := content.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise _too_large(name, limit)
            file.write(chunk)
    return written


def _too_large(name: str, limit: int) -> InputError:
    return InputError(
        f"{name}: unpacks to more than the {limit:,} bytes that are the limit of its "
        "data set; nothing was kept; do not trust this file"
    )


def only_folder(folder: Path) -> Path:
    """Return the folder of the files: the only folder inside, or the folder itself."""
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        return inner[0]
    return folder
