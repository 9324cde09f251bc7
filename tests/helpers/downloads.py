"""Archives and a server for them, shared by tests of fetching."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from twotower_jax.errors import InputError

ZIP, TAR, GZ, TEXT = "set.zip", "set.tar.gz", "ratings.csv.gz", "ratings.csv"
FILES = {"ml/ratings.csv": b"userId,movieId\n1,2\n", "ml/more/README": b"read me\n"}


def zipped(files, link=None):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
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
    """Serves bytes by path, and stores the requested paths."""

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


def sha(content):
    return hashlib.sha256(content).hexdigest()


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(get, tmp_path, message, files, **keys):
    """Assert an InputError with the message, after which there is no trace."""
    with pytest.raises(InputError, match=message):
        get(files, **keys)
    assert tree(tmp_path) == {}
