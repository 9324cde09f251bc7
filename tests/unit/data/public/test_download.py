"""Downloads that break off, are too long, are not web addresses, or are stopped."""

import contextlib
import io
import re
import signal
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest
from helpers.downloads import TEXT, refused
from rich.console import Console

from twotower_jax.data.public import download, fetch

# ------------------------------------------------------------------------- the network


def test_a_connection_that_breaks_off(get, server, tmp_path):
    server.extra = 7
    message = r"broke off after 4 of 11 bytes; nothing was kept; run the command again"
    refused(get, tmp_path, message, {TEXT: b"0 1\n"})


def test_more_bytes_than_expected(get, tmp_path):
    refused(get, tmp_path, "sends more than the 3 bytes", {TEXT: b"0 1\n"}, size=3)
    refused(get, tmp_path, "sends more than the 2 bytes", {TEXT: b"0 1\n"}, limit=2)


def test_a_missing_file_of_the_server(get, server, tmp_path):
    server.moved = {"gone": "/nowhere", "local": "file:///etc/passwd"}
    for name, message in (
        (
            "nowhere",
            "nowhere: cannot be fetched: Not Found; nothing was kept; check th",
        ),
        ("gone", "gone: cannot be fetched: Not Found"),
        ("local", "local: cannot be fetched: .*not allowed"),
    ):
        there = [f"{server.address}/{name}"]
        refused(get, tmp_path, message, {TEXT: b""}, addresses=there)
    server.close()
    refused(get, tmp_path, "cannot be fetched: .*refused", {TEXT: b""})
    server.close = lambda: None


ADDRESSES = ["file:///etc/passwd", "ftp://a/b", "set.zip", "http://[::1", "http://é"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_addresses_of_the_web(get, tmp_path, address):
    message = "--address='.*' is not a web address"
    refused(get, tmp_path, message, {TEXT: b""}, addresses=[address])


def test_encryption_is_never_given_up(get, tmp_path, monkeypatch):
    """A redirection from https to http could give any bytes."""

    def answer(request, timeout):
        return contextlib.nullcontext(SimpleNamespace(url="http://mirror/set.zip"))

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    message = "https://safe/x: leads to http://mirror/set.zip, which is not encrypted"
    refused(get, tmp_path, message, {TEXT: b""}, addresses=["https://safe/x"])


# ----------------------------------------------------------------- progress, stopping


def test_a_terminal_shows_a_bar_and_a_file_plain_lines(get, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PLAIN_SECONDS", -1.0)
    shown = get({TEXT: bytes(2_000_000)}, limit=3_000_000)
    assert re.search(r"ratings.csv: 2.0 of 2.0 MB, [\d.]+ MB/s, 0 s left", shown)
    (tmp_path / "out").rename(tmp_path / "first")
    screen = io.StringIO()
    terminal = Console(
        file=screen, force_terminal=True, width=120, _environ={"TERM": "xterm"}
    )
    get({TEXT: bytes(2_000_000)}, limit=3_000_000, console=terminal)
    assert re.search(r"2.0/2.0 MB", screen.getvalue())
    assert "s left" not in screen.getvalue()


def test_a_keyboard_interrupt_leaves_nothing(get, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "unpack", stop)
    with pytest.raises(KeyboardInterrupt):
        get({TEXT: b"a"})
    assert list(tmp_path.iterdir()) == []


STOPPED = """
import sys
from pathlib import Path
from rich.console import Console
from twotower_jax.data.public.catalogue import DataSet, Part
from twotower_jax.data.public.fetch import fetch

part = Part("slow.zip", sys.argv[1], 10_000_000)
entry = DataSet("", "", "", "", (part,))
fetch(entry, Path(sys.argv[2]) / "out" / "tiny", Console())
"""


def test_a_terminated_download_leaves_nothing(server, tmp_path):
    server.files["slow.zip"], server.extra = bytes(3_000_000), 1_000
    words = [sys.executable, "-c", STOPPED, f"{server.address}/slow.zip", str(tmp_path)]
    with subprocess.Popen(words) as process:
        written = (path for path in iter(lambda: [*tmp_path.rglob("slow.zip")], None))
        for found in written:
            if found and found[0].stat().st_size >= 2_000_000:
                break
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
