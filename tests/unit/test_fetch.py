"""Fetching data sets from a server of this machine: whole, checked, or not at all."""

import contextlib
import gzip
import hashlib
import http.server
import io
import re
import signal
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from types import SimpleNamespace

import pytest
from rich.console import Console

from twotower_jax.cli import main
from twotower_jax.data import download, fetch
from twotower_jax.data.catalogue import CATALOGUE, DataSet, Part
from twotower_jax.data.sources import SOURCES
from twotower_jax.data.unpack import unpack
from twotower_jax.errors import InputError

ZIP, TAR, GZ, TEXT = "set.zip", "set.tar.gz", "ratings.csv.gz", "ratings.csv"
FILES = {"ml/ratings.csv": b"userId,movieId\n1,2\n", "ml/more/README": b"read me\n"}


def zipped(files, link=None):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return data.getvalue()


def tarred(files, *odd):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in odd:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return data.getvalue()


def damaged(content, place):
    changed = bytearray(content)
    changed[place] ^= 0xFF
    return bytes(changed)


class Server:
    """Serves bytes by path, and remembers what was asked for."""

    def __init__(self):
        self.files, self.asked, self.extra = {}, [], 0
        self.moved, self.hold = {}, threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request):
        name = request.path.removeprefix("/")
        self.asked.append(name)
        if name in self.moved:
            request.send_response(302)
            request.send_header("Location", self.moved[name])
            request.end_headers()
        elif name not in self.files:
            request.send_error(404)
        else:
            content = self.files[name]
            request.send_response(200)
            request.send_header("Content-Length", str(len(content) + self.extra))
            request.end_headers()
            request.wfile.write(content)
            if name.startswith("slow"):
                request.wfile.flush()
                self.hold.wait(60)

    def close(self):
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server():
    one = Server()
    yield one
    one.close()


@pytest.fixture
def get(server, tmp_path):
    """Return a function that fetches files of the server as the data set 'tiny'."""

    def call(
        files,
        *,
        limit=10_000,
        sums=None,
        size=None,
        yes=True,
        pinned=(),
        console=None,
        **keys,
    ):
        server.files |= files
        parts = tuple(
            Part(name, f"{server.address}/{name}", limit, size, (sums or {}).get(name))
            for name in files
        )
        entry = DataSet("small", "movielens", "https://page", "some terms", parts)
        out = io.StringIO()
        fetch.fetch_command(
            "tiny",
            tmp_path / "out",
            console or Console(file=out, width=200),
            yes=yes,
            sums=pinned,
            catalogue={"tiny": entry},
            **keys,
        )
        return out.getvalue()

    return call


def sha(content):
    return hashlib.sha256(content).hexdigest()


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ------------------------------------------------------------------- what is written


@pytest.mark.parametrize(("name", "pack"), [(ZIP, zipped), (TAR, tarred)])
def test_an_archive_becomes_a_folder(get, tmp_path, name, pack):
    content = pack(FILES | {"__MACOSX/ml/x": b"no", "ml/._ratings.csv": b"no"})
    shown = get({name: content}, sums={name: sha(content)})
    # The folder within the archive is the data set; nothing else is left over.
    assert tree(tmp_path) == {
        "out/tiny/ratings.csv": b"userId,movieId\n1,2\n",
        "out/tiny/more/README": b"read me\n",
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]
    assert f"{name}: SHA-256 as expected" in shown
    place = tmp_path / "out" / "tiny"
    assert f"twotower data check data=movielens data.path={place}" in shown


def test_plain_and_packed_files_lie_side_by_side(get, server, tmp_path):
    get({GZ: gzip.compress(b"a,b\n"), "test.txt": b"0 1\n"})
    assert tree(tmp_path / "out" / "tiny") == {TEXT: b"a,b\n", "test.txt": b"0 1\n"}
    assert server.asked == [GZ, "test.txt"]


def test_without_yes_nothing_is_asked_and_nothing_written(get, server, tmp_path):
    shown = get({ZIP: zipped(FILES)}, yes=False)
    assert server.asked == [] and list(tmp_path.iterdir()) == []
    for text in (f"{server.address}/{ZIP}", "some terms", "https://page", "--yes"):
        assert text in shown
    assert str(tmp_path / "out" / "tiny") in shown


def test_an_unknown_sum_is_printed_and_can_be_pinned(get, tmp_path):
    shown = get({TEXT: b"a\n"})
    (found,) = re.findall(r"--sha256 ([0-9a-f]{64})", shown)
    assert found == sha(b"a\n")
    (tmp_path / "out" / "tiny" / TEXT).unlink()
    (tmp_path / "out" / "tiny").rmdir()
    assert "as expected" in get({TEXT: b"a\n"}, sums={TEXT: "0" * 64}, pinned=[found])


def test_another_address_has_to_give_the_same_bytes(get, server, tmp_path):
    server.files["mirror"] = b"a\n"
    there = f"{server.address}/mirror"
    get({TEXT: b"gone"}, sums={TEXT: sha(b"a\n")}, addresses=[there])
    assert server.asked == ["mirror"]
    assert tree(tmp_path / "out" / "tiny") == {TEXT: b"a\n"}


# ---------------------------------------------------------------------- what is refused


def refused(get, tmp_path, message, files, **keys):
    """Assert an InputError with the message, after which there is no trace."""
    with pytest.raises(InputError, match=message):
        get(files, **keys)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_sum_names_both_and_leaves_nothing(get, tmp_path):
    content, other = zipped(FILES), "ab" * 32
    message = f"is {sha(content)}, and {other} was expected; .*--sha256 {sha(content)}"
    refused(get, tmp_path, message, {ZIP: content}, sums={ZIP: other})


def test_a_wrong_second_file_takes_the_first_with_it(get, tmp_path):
    files = {"train.txt": b"0 1\n", "test.txt": b"0 2\n"}
    refused(get, tmp_path, "was expected", files, sums={"test.txt": "0" * 64})


def test_an_existing_folder_is_never_touched(get, server, tmp_path):
    (tmp_path / "out" / "tiny").mkdir(parents=True)
    with pytest.raises(InputError, match="tiny is there already, and nothing is overw"):
        get({TEXT: b"a"})
    assert server.asked == []


def test_a_folder_that_comes_meanwhile_is_kept(get, tmp_path, monkeypatch):
    real, mine = fetch.unpack, tmp_path / "out" / "tiny"

    def late(path, folder, limit):
        mine.mkdir()
        (mine / "mine").write_text("mine")
        return real(path, folder, limit)

    monkeypatch.setattr(fetch, "unpack", late)
    with pytest.raises(InputError, match="came into being during the fetch"):
        get({TEXT: b"a"})
    assert tree(tmp_path) == {"out/tiny/mine": b"mine"}


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
    "zip of other letters": (
        ZIP,
        zipped({"é": b"x"}).replace("é".encode(), b"\xff\xff"),
        "set.zip: cannot be unpacked",
    ),
    "tar whose second file is damaged": (
        TAR,
        gzip.compress(damaged(gzip.decompress(tarred({"a": b"x", "b": b"y"})), 1_030)),
        "set.tar.gz: cannot be unpacked: something that is no file",
    ),
    "tar with another sum": (
        TAR,
        damaged(tarred({"a": b"x"}), -8),
        "set.tar.gz: cannot be unpacked: CRC",
    ),
    "folder as file": (ZIP, zipped({"a": b"x", "a/b": b"y"}), "cannot be unpacked"),
}


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
    monkeypatch.setattr("twotower_jax.data.unpack.MEMBERS", 3)
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


# ------------------------------------------------------------------------- the network


def test_a_connection_that_breaks_off(get, server, tmp_path):
    server.extra = 7
    message = r"broke off after 4 of 11 bytes; nothing was kept; run the command again"
    refused(get, tmp_path, message, {TEXT: b"0 1\n"})


def test_more_bytes_than_expected(get, tmp_path):
    refused(get, tmp_path, "sends more than the 3 bytes", {TEXT: b"0 1\n"}, size=3)
    refused(get, tmp_path, "sends more than the 2 bytes", {TEXT: b"0 1\n"}, limit=2)


def test_what_the_server_does_not_have(get, server, tmp_path):
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
    message = "--address='.*' is no address of the web"
    refused(get, tmp_path, message, {TEXT: b""}, addresses=[address])


def test_encryption_is_never_given_up(get, tmp_path, monkeypatch):
    """A redirection from https to http could give any bytes."""

    def answer(request, timeout):
        return contextlib.nullcontext(SimpleNamespace(url="http://mirror/set.zip"))

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    message = "https://safe/x: leads to http://mirror/set.zip, which is not encrypted"
    refused(get, tmp_path, message, {TEXT: b""}, addresses=["https://safe/x"])


def test_options_that_do_not_fit(get, tmp_path):
    files = {"train.txt": b"", "test.txt": b""}
    for keys, message in (
        ({"pinned": ["0" * 64]}, "--sha256 is given 1 times and the data set has 2"),
        ({"addresses": ["a"] * 3}, "--address is given 3 times and the data set has 2"),
        ({"pinned": ["0" * 64, "x"]}, "--sha256='x' is no SHA-256; give 64 hex"),
    ):
        refused(get, tmp_path, message, files, **keys)


def test_the_folder_must_be_writable(get, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out cannot be written to .*--out"):
        get({TEXT: b"a"})


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
from twotower_jax.data.catalogue import DataSet, Part
from twotower_jax.data.fetch import fetch

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


# ------------------------------------------------------------- catalogue, command line


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_of_the_catalogue_is_whole(name):
    entry = CATALOGUE[name]
    assert entry.source in SOURCES and entry.terms
    assert entry.page.startswith("https://")
    assert bool(entry.parts) != bool(entry.by_hand)
    for part in entry.parts:
        assert part.address.startswith("https://")
        assert part.address.endswith(f"/{part.name}")
        assert part.sha256 is None or re.fullmatch("[0-9a-f]{64}", part.sha256)
        # who knows the sum has seen the file
        assert (part.sha256 is None) == (part.size is None)
        assert (part.size or 0) < part.limit


def command(*words):
    with pytest.raises(SystemExit) as stop:
        main(["data", "fetch", *words])
    return stop.value.code


def test_the_command_lists_and_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command() == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CATALOGUE)
    assert command("ml-1m") == 0
    shown = capsys.readouterr().out
    part = CATALOGUE["ml-1m"].parts[0]
    assert part.address in shown and str(part.sha256) in shown
    assert "data/ml-1m" in shown and "no redistribution" in shown
    assert command("mind-small") == 0
    shown = capsys.readouterr().out
    assert "by hand" in shown and "data check data=mind" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_command_fetches_and_refuses(server, tmp_path, capsys):
    """ml-1m from here: the known sum refuses it, and a pinned one takes it."""
    content = zipped(
        {
            "ml-1m/ratings.dat": b"1::10::5::978300760\n2::20::3::978302109\n",
            "ml-1m/movies.dat": b"10::A (2001)::Comedy\n20::B (1995)::Drama\n",
        }
    )
    server.files[ZIP] = content
    words = ("ml-1m", "--yes", "--out", str(tmp_path), "--address")
    assert command(*words, f"{server.address}/{ZIP}") == 2
    shown = capsys.readouterr().err
    assert sha(content) in shown and str(CATALOGUE["ml-1m"].parts[0].sha256) in shown
    assert list(tmp_path.iterdir()) == []
    assert command(*words, f"{server.address}/{ZIP}", "--sha256", sha(content)) == 0
    assert len(tree(tmp_path / "ml-1m")) == 2
    assert command("nothing") == 2
    assert "data set='nothing' is unknown; choose one of: " in capsys.readouterr().err
    assert command("recflow", "--yes") == 2
    assert "cannot be fetched by a program" in capsys.readouterr().err
