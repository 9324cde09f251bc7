"""Archives are unpacked inside one folder, up to a stated size, without links."""

import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from twotower_jax.errors import InputError

CHUNK = 1 << 20
MEMBERS = 20_000
# What unpacking raises for archives that are damaged, encrypted or not archives.
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
    """What can be read piece by piece."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        ...


class Member(NamedTuple):
    """One entry: its name, its content (None for a folder) and what it is."""

    name: str
    content: Content | None
    kind: str


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield Member(info.filename, None, "a link or a device")
            elif info.is_dir():
                yield Member(info.filename, None, "folder")
            else:
                with archive.open(info) as content:
                    yield Member(info.filename, content, "file")


def _tar(path: Path) -> Iterator[Member]:
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                yield Member(info.name, None, "folder")
            elif info.isfile():
                yield Member(info.name, archive.extractfile(info), "file")
            else:
                yield Member(info.name, None, "a link or a device")
        # A damaged header ends an archive as zeros do; and only who reads to its end
        # has the sum of a gzip file checked.
        stream.seek(archive.offset)
        while chunk := stream.read(CHUNK):
            if chunk.strip(b"\0"):
                raise tarfile.ReadError("something that is no file follows the files")


def _gzip(path: Path) -> Iterator[Member]:
    with gzip.open(path) as content:
        yield Member(path.name.removesuffix(".gz"), content, "file")


def _plain(path: Path) -> Iterator[Member]:
    with path.open("rb") as content:
        yield Member(path.name, content, "file")


# The first ending that fits; any other file is taken as it is.
FORMATS = {".zip": _zip, ".tar.gz": _tar, ".tgz": _tar, ".gz": _gzip, "": _plain}


def _place(folder: Path, member: Member, archive: str) -> Path:
    """Return where a member goes.

    Raises:
      InputError: a name that leads out of the folder, or a file without a name.
    """
    name = member.name
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
    """Unpack a file into a folder that exists, and return the bytes written.

    Args:
      path: a .zip, .tar.gz, .tgz or .gz by its name, or any other file, which is
        copied.
      folder: new, so that it holds no link that a name could follow.
      limit: of the bytes written, whatever the archive says of itself.

    Raises:
      InputError: a member that leads out of the folder, is neither a file nor a folder
        or comes twice; more bytes than the limit; a damaged archive.
    """
    read = next(read for end, read in FORMATS.items() if path.name.endswith(end))
    written = 0
    try:
        for number, member in enumerate(read(path), start=1):
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
        text = str(error).strip().split("\n")[0]
        raise InputError(
            f"{path.name}: cannot be unpacked: {text}; fetch it again"
        ) from None
    return written


def _of_macos(place: Path, folder: Path) -> bool:
    """Say whether a file is one that macOS adds to archives."""
    parts = place.relative_to(folder).parts
    return "__MACOSX" in parts or parts[-1].startswith("._")


def _copy(content: Content, place: Path, left: int, name: str, limit: int) -> int:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with place.open("xb") as file:
        while chunk := content.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise InputError(
                    f"{name}: unpacks to more than the {limit:,} bytes that its data "
                    "set may have; nothing was kept; do not trust this file"
                )
            file.write(chunk)
    return written


def only_folder(folder: Path) -> Path:
    """Return the folder that holds the files: the one within, if it is alone."""
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        return inner[0]
    return folder
