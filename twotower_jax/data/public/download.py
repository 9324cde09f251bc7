"""Download of one file: bounded in size, hashed while it is written."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from twotower_jax.data.public.catalogue import Part
from twotower_jax.data.public.unpack import CHUNK
from twotower_jax.errors import InputError

TIMEOUT = 60.0
PLAIN_SECONDS = 10.0


def print_line(console: Console, text: str) -> None:
    """Print a line without markup, colours or line breaks."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _of_the_web(address: str) -> bool:
    """Return whether an address begins with http or https and is in ASCII."""
    try:
        return address.isascii() and urlsplit(address).scheme in ("http", "https")
    except ValueError:  # such as a bracket that is never closed
        return False


def download(part: Part, path: Path, console: Console) -> str:
    """Download a file."""
    if not _of_the_web(part.address):
        raise InputError(
            f"--address={part.address!r} is not a web address; give one that "
            "begins with https:// (letters beyond ASCII percent-encoded)"
        )
    agent = {"User-Agent": "twotower-jax"}
    # The address is one of the web, as checked above.
    request = urllib.request.Request(part.address, headers=agent)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 # nosec B310
            if part.address.startswith("https:") and not response.url.startswith(
                "https:"
            ):
                raise InputError(
                    f"{part.address}: leads to {response.url}, which is not encrypted; "
                    "nothing was kept; give another --address"
                )
            return _receive(response, part, path, console)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{part.address}: cannot be fetched: {reason}; nothing was kept; check "
            "the network and run the command again, or give another --address"
        ) from None


def _receive(
    response: http.client.HTTPResponse, part: Part, path: Path, console: Console
) -> str:
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else part.size
    limit = part.size or part.limit
    digest, done = hashlib.sha256(), 0
    with path.open("xb") as file, _Meter(console, part.name, total) as meter:
        while chunk := response.read(CHUNK):
            done += len(chunk)
            if done > limit:
                raise InputError(
                    f"{part.address}: sends more than the {limit:,} bytes that were "
                    "expected; nothing was kept; if the publisher has renewed the file "
                    "and you trust it, give its --sha256"
                )
            file.write(chunk)
            digest.update(chunk)
            meter.show(done)
    if total is not None and done < total:
        raise InputError(
            f"{part.address}: broke off after {done:,} of {total:,} bytes; nothing was "
            "kept; run the command again"
        )
    return digest.hexdigest()


class _Meter:
    """Shows bytes, rate and time left: a bar on a terminal, plain lines otherwise."""

    def __init__(self, console: Console, name: str, total: int | None):
        self._console, self._name, self._total = console, name, total
        self._begin = self._last = time.perf_counter()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or console.is_dumb_terminal,
        )
        self._task = self._bar.add_task(name, total=total)

    def __enter__(self) -> "_Meter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int) -> None:
        """Show the number of bytes received so far."""
        self._bar.update(self._task, completed=done)
        now = time.perf_counter()
        if not self._bar.disable or now - self._last < PLAIN_SECONDS:
            return
        self._last = now
        rate = done / (now - self._begin)
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total / 1e6:,.1f}"
            left = f", {(self._total - done) / rate:.0f} s left"
        text = f"{done / 1e6:,.1f}{of} MB, {rate / 1e6:.1f} MB/s{left}"
        print_line(self._console, f"{self._name}: {text}")
