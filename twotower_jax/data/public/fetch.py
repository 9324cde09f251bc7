"""Fetch public data sets: only when told to, checked, and whole or not at all."""

import contextlib
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from twotower_jax.data.public.catalogue import CATALOGUE, DataSet, Part
from twotower_jax.data.public.download import download, say
from twotower_jax.data.public.unpack import only_folder, unpack
from twotower_jax.errors import InputError, unknown


def fetch_command(
    name: str | None,
    out: Path,
    console: Console,
    *,
    yes: bool = False,
    addresses: Sequence[str] = (),
    sums: Sequence[str] = (),
    catalogue: Mapping[str, DataSet] = CATALOGUE,
) -> None:
    """List the catalogue, show a data set, or, with ``yes``, fetch it.

    Args:
      name: of the catalogue; None lists it.
      out: the folder that gets a folder of that name.
      console: for what is printed.
      yes: fetch. Without it nothing is asked of the network and nothing written.
      addresses: in place of the catalogue's, one a file.
      sums: SHA-256 in place of the catalogue's, one a file.
      catalogue: the data sets.

    Raises:
      InputError: an unknown name, a folder that is there already, a file that cannot
        be had, is not the expected one or cannot be unpacked.
    """
    if name is None:
        for key, entry in catalogue.items():
            say(console, f"{key:16} data={entry.source:12} {entry.what}")
        return
    if name not in catalogue:
        raise unknown("data set", name, catalogue)
    entry = catalogue[name]
    entry = entry._replace(parts=_override(entry.parts, addresses, sums))
    target = out / name
    if target.exists():
        raise InputError(
            f"{target} is there already, and nothing is overwritten; remove it, or "
            "give another folder by --out"
        )
    if not yes:
        _show(console, name, entry, target)
        return
    if not entry.parts:
        raise InputError(
            f"{name} cannot be fetched by a program: {entry.page}; {entry.by_hand}"
        )
    say(console, f"terms: {entry.terms}")
    fetch(entry, target, console)
    say(console, f"wrote {target}; check it: {_check_command(entry, target)}")


def _check_command(entry: DataSet, target: Path) -> str:
    return (
        f"twotower data check data={entry.source} data.path={shlex.quote(str(target))}"
    )


def _override(
    parts: tuple[Part, ...], addresses: Sequence[str], sums: Sequence[str]
) -> tuple[Part, ...]:
    """Return the parts with other addresses and sums.

    Raises:
      InputError: not one of them for each file, or no SHA-256.
    """
    for option, given in (("--address", addresses), ("--sha256", sums)):
        if given and len(given) != len(parts):
            raise InputError(
                f"{option} is given {len(given)} times and the data set has "
                f"{len(parts)} files; give it once for each, in their order"
            )
    for text in sums:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
            raise InputError(f"--sha256={text!r} is no SHA-256; give 64 hex digits")
    return tuple(
        part._replace(
            address=addresses[i] if addresses else part.address,
            sha256=sums[i].lower() if sums else part.sha256,
            size=None if sums else part.size,
        )
        for i, part in enumerate(parts)
    )


def _show(console: Console, name: str, entry: DataSet, target: Path) -> None:
    """Print all that is known of a data set, and the commands to come."""
    say(console, f"{name}: {entry.what}")
    say(console, f"page: {entry.page}")
    say(console, f"terms: {entry.terms}")
    for part in entry.parts:
        size = f"{part.size:,} bytes" if part.size else "size not known"
        say(console, f"address: {part.address} ({size})")
        say(console, f"SHA-256: {part.sha256 or 'not known; it will be printed'}")
    if not entry.parts:
        say(console, f"by hand: {entry.by_hand}")
        folder = Path("FOLDER")
        say(console, f"then check it: {_check_command(entry, folder)}")
        return
    most = sum(part.limit for part in entry.parts) // 1_000_000
    say(console, f"would write: {target} (at most {most:,} MB)")
    say(console, "nothing was fetched; the same command with --yes fetches it")


def fetch(entry: DataSet, target: Path, console: Console) -> None:
    """Fetch the parts of a data set into a new folder, whole or not at all.

    Everything happens in a temporary folder beside the target, which is removed also
    when the fetch fails or is stopped, and is renamed at the end.

    Raises:
      InputError: a file that cannot be had, is not the expected one or cannot be
        unpacked; the target came into being meanwhile.
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
        found = download(part, path, console)
        if part.sha256 is not None and found != part.sha256:
            raise InputError(
                f"{part.address}: its SHA-256 is {found}, and {part.sha256} was "
                "expected; nothing was kept; fetch it again, or, if its publisher has "
                f"renewed it and you trust it, add --sha256 {found}"
            )
        if part.sha256 is None:
            text = f"not known before; to expect it from now on: --sha256 {found}"
            say(console, f"{part.name}: SHA-256 {text}")
        else:
            say(console, f"{part.name}: SHA-256 as expected")
        written = unpack(path, unpacked, part.limit)
        say(console, f"{part.name}: {written:,} bytes unpacked")
        path.unlink()


def _rename(folder: Path, target: Path) -> None:
    """Move a folder; another one, even an empty one, is not replaced."""
    try:
        if target.exists():
            raise FileExistsError
        folder.rename(target)
    except OSError:
        raise InputError(
            f"{target} came into being during the fetch, and nothing is overwritten; "
            "give another folder by --out"
        ) from None


@contextlib.contextmanager
def _stopped_by_terminate() -> Iterator[None]:
    """Turn SIGTERM into an exit that cleans up (only a main thread can)."""
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
