"""Fetching of public data sets: on request only, checked, whole or not at all."""

import gzip
import re
import shlex
import shutil
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pooch
from rich.console import Console

from twotower_jax.data.drafts import checksum, to_disk
from twotower_jax.data.public.catalogue import CATALOGUE, DataSet, Part
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry

TIMEOUT = 60  # seconds without an answer
PLAIN_SECONDS = 10.0  # between two lines of progress
# Exceptions for files that are damaged, encrypted, hostile or not archives.
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError),
    *(OSError, ValueError),
)


class Replaced(NamedTuple):
    """Addresses and sums in place of those of the catalogue, one per file.

    Attributes:
      addresses: URLs; () for those of the catalogue.
      sums: SHA-256 as hexadecimal digits; () for those of the catalogue.
    """

    addresses: Sequence[str] = ()
    sums: Sequence[str] = ()


def fetch_command(
    name: str | None,
    out: Path,
    console: Console,
    *,
    yes: bool = False,
    replaced: Replaced | None = None,
    catalogue: Registry[DataSet] = CATALOGUE,
) -> None:
    """List the catalogue, show a data set, or, with ``yes``, fetch it."""
    if name is None:
        for key, entry in catalogue.items():
            print_line(console, f"{key:16} data={entry.source:12} {entry.content}")
        return
    entry = catalogue[name]
    entry = entry._replace(parts=_override(entry.parts, replaced or Replaced()))
    target = out / name
    if target.exists():
        raise InputError(
            f"{target} exists already, and nothing is overwritten; remove it, or "
            "give another folder by --out"
        )
    if not yes:
        _show(console, name, entry, target)
        return
    if not entry.parts:
        raise InputError(
            f"{name} cannot be fetched by a program: {entry.page}; {entry.by_hand}"
        )
    print_line(console, f"terms: {entry.terms}")
    fetch(entry, target, console)
    print_line(console, f"wrote {target}; check it: {_check_command(entry, target)}")


def print_line(console: Console, text: str) -> None:
    """Print a line without markup, colours or line breaks."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_command(entry: DataSet, target: Path) -> str:
    return (
        f"twotower data check data={entry.source} data.path={shlex.quote(str(target))}"
    )


def _override(parts: tuple[Part, ...], replaced: Replaced) -> tuple[Part, ...]:
    """Return the parts with other addresses and sums."""
    addresses, sums = replaced
    for option, given in (("--address", addresses), ("--sha256", sums)):
        if given and len(given) != len(parts):
            raise InputError(
                f"{option} is given {len(given)} times and the data set has "
                f"{len(parts)} files; give it once for each, in their order"
            )
    for address in addresses:
        if not re.match("https?://[!-~]+$", address):
            raise InputError(
                f"--address={address!r} is not a web address; give one that begins "
                "with https:// (letters beyond ASCII percent-encoded)"
            )
    for text in sums:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
            raise InputError(f"--sha256={text!r} is not a SHA-256; give 64 hex digits")
    return tuple(
        part._replace(
            address=addresses[i] if addresses else part.address,
            sha256=sums[i].lower() if sums else part.sha256,
            size=None if sums else part.size,
        )
        for i, part in enumerate(parts)
    )


def _show(console: Console, name: str, entry: DataSet, target: Path) -> None:
    """Print the entry of a data set and the next commands."""
    print_line(console, f"{name}: {entry.content}")
    print_line(console, f"page: {entry.page}")
    print_line(console, f"terms: {entry.terms}")
    for part in entry.parts:
        size = f"{part.size:,} bytes" if part.size else "size unknown"
        print_line(console, f"address: {part.address} ({size})")
        print_line(console, f"SHA-256: {part.sha256 or 'unknown; it will be printed'}")
    if not entry.parts:
        print_line(console, f"by hand: {entry.by_hand}")
        folder = Path("FOLDER")
        print_line(console, f"then check it: {_check_command(entry, folder)}")
        return
    most = sum(part.limit for part in entry.parts) // 1_000_000
    print_line(console, f"would write: {target} (at most {most:,} MB)")
    print_line(console, "nothing was fetched; the same command with --yes fetches it")


def fetch(entry: DataSet, target: Path, console: Console) -> None:
    """Fetch the parts of a data set into a new folder, whole or not at all.

    Files are written to a temporary folder beside the target, which is renamed at the
    end. It is removed when the fetch fails or is stopped.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = tempfile.TemporaryDirectory(
            prefix=f".{target.name}.", dir=target.parent
        )
    except OSError as error:
        raise InputError(
            f"{target.parent} cannot be written to ({error.strerror}); give another "
            "folder by --out"
        ) from None
    with draft:
        unpacked = Path(draft.name, "unpacked")
        unpacked.mkdir()
        for part in entry.parts:
            path = _download(part, Path(draft.name), console)
            unpack(path, unpacked, part.limit)
            path.unlink()
        to_disk(unpacked)
        inner = list(unpacked.iterdir())
        try:
            if target.exists():  # not even an empty folder is replaced
                raise FileExistsError
            (inner[0] if len(inner) == 1 and inner[0].is_dir() else unpacked).rename(
                target
            )
        except OSError:
            raise InputError(
                f"{target} was created during the fetch, and nothing is overwritten; "
                "give another folder by --out"
            ) from None


class _Meter:
    """Prints bytes, rate and time left; ends a download that is too long."""

    def __init__(self, part: Part, console: Console):
        self.total = 0  # set by pooch
        self._part, self._console = part, console
        self._done, self._begin = 0, time.perf_counter()
        self._last = self._begin

    def update(self, number: int) -> None:
        self._done += number
        limit = self._part.size or self._part.limit
        if self._done - number > limit:  # the last of the chunks may be shorter
            raise InputError(
                f"{self._part.address}: sends more than the {limit:,} bytes that were "
                "expected; nothing was kept; if the publisher has renewed the file "
                "and you trust it, give its --sha256"
            )
        now = time.perf_counter()
        if now - self._last >= PLAIN_SECONDS:
            self._last, rate = now, self._done / (now - self._begin)
            left = max(0.0, self.total - self._done) / rate
            print_line(
                self._console,
                f"{self._part.name}: {self._done / 1e6:,.1f} of "
                f"{self.total / 1e6:,.1f} MB, {rate / 1e6:.1f} MB/s, {left:.0f} s left",
            )

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(part: Part, folder: Path, console: Console) -> Path:
    """Download a file and compare it with its checksum."""
    pooch.get_logger().setLevel("ERROR")
    meter = _Meter(part, console)
    downloader: Any = pooch.HTTPDownloader(
        progressbar=meter,  # type: ignore[arg-type]  # any object with its methods
        timeout=TIMEOUT,
    )
    try:
        path = Path(
            pooch.retrieve(part.address, None, part.name, folder, downloader=downloader)
        )
    except OSError as error:  # of requests too
        raise InputError(
            f"{part.address}: cannot be fetched: {error}; nothing was kept; check the "
            "network and run the command again, or give another --address"
        ) from None
    digest = checksum(path)
    if part.sha256 is None:
        text = f"unknown before; to require it from now on: --sha256 {digest}"
        print_line(console, f"{part.name}: SHA-256 {text}")
    elif digest != part.sha256:
        raise InputError(
            f"{part.address}: its SHA-256 is {digest}, and {part.sha256} was expected; "
            "nothing was kept; fetch it again, or, if the publisher has renewed the "
            f"file and you trust it, add --sha256 {digest}"
        )
    else:
        print_line(console, f"{part.name}: SHA-256 as expected")
    return path


def unpack(path: Path, folder: Path, limit: int) -> None:
    """Unpack a file of at most ``limit`` bytes into a folder, and nowhere else."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if not _of_macos(m.filename)]
                _check_size(path, sum(m.file_size for m in members), limit)
                # Zip files are never unpacked outside, and links become files.
                archive.extractall(folder, members)  # noqa: S202
        elif path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                size, members = 0, []
                for member in archive:
                    _check_size(path, size := size + member.size, limit)
                    members += [] if _of_macos(member.name) else [member]
                archive.extractall(folder, members, filter="data")
        elif path.suffix == ".gz":
            with gzip.open(path) as content, (folder / path.stem).open("xb") as file:
                while chunk := content.read(1 << 20):
                    _check_size(path, file.tell() + len(chunk), limit)
                    file.write(chunk)
        else:
            shutil.copyfile(path, folder / path.name)
    except InputError:
        raise
    except BROKEN as error:
        text = str(error).strip().split("\n")[0][:200]
        raise InputError(
            f"{path.name}: cannot be unpacked: {text}; nothing was kept; fetch it again"
        ) from None


def _check_size(path: Path, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(
            f"{path.name}: unpacks to more than the {limit:,} bytes that are the limit "
            "of its data set; nothing was kept; do not trust this file"
        )


def _of_macos(name: str) -> bool:
    """Return whether a file is one that macOS adds to archives."""
    parts = Path(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))
