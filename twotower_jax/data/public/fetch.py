"""Fetching of public data sets: on request only, checked, whole or not at all."""

import contextlib
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from twotower_jax.data.drafts import to_disk
from twotower_jax.data.public.catalogue import CATALOGUE, DataSet, Part
from twotower_jax.data.public.download import download, print_line
from twotower_jax.data.public.unpack import only_folder, unpack
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry


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
    new = [
        path for path in (target.parent, *target.parent.parents) if not path.exists()
    ]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(
            f"{target.parent} cannot be written to ({error.strerror}); give another "
            "folder by --out"
        ) from None
    try:
        with _stopped_by_terminate():
            _fetch_into(place, entry, console)
            _rename(only_folder(place / "unpacked"), target)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if not target.exists():
            with contextlib.suppress(OSError):
                for path in new:
                    path.rmdir()


def _fetch_into(place: Path, entry: DataSet, console: Console) -> None:
    unpacked = place / "unpacked"
    unpacked.mkdir()
    for part in entry.parts:
        path = place / part.name
        digest = download(part, path, console)
        if part.sha256 is not None and digest != part.sha256:
            raise InputError(
                f"{part.address}: its SHA-256 is {digest}, and {part.sha256} was "
                "expected; nothing was kept; fetch it again, or, if the publisher has "
                f"renewed the file and you trust it, add --sha256 {digest}"
            )
        if part.sha256 is None:
            text = f"unknown before; to require it from now on: --sha256 {digest}"
            print_line(console, f"{part.name}: SHA-256 {text}")
        else:
            print_line(console, f"{part.name}: SHA-256 as expected")
        written = unpack(path, unpacked, part.limit)
        print_line(console, f"{part.name}: {written:,} bytes unpacked")
        path.unlink()
    to_disk(unpacked)


def _rename(folder: Path, target: Path) -> None:
    """Move a folder to a target that does not exist, not even as an empty folder."""
    try:
        if target.exists():
            raise FileExistsError
        folder.rename(target)
    except OSError:
        raise InputError(
            f"{target} was created during the fetch, and nothing is overwritten; "
            "give another folder by --out"
        ) from None


@contextlib.contextmanager
def _stopped_by_terminate() -> Iterator[None]:
    """Turn SIGTERM into an exit that cleans up (in the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
