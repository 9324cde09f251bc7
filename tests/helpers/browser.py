"""Pages opened in headless Chromium, and markup that shows that it ran."""

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from helpers.markup import Elements

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
# Script of the payloads: marks the page and requests an address of `Browser`.
RUN = "document.title='ran';document.documentElement.setAttribute('ran',1);fetch('URL')"
HOLDERS = {
    "body": "<!DOCTYPE html><title>x</title><body>PAYLOAD\n<p>x</p>",
    "title": "<!DOCTYPE html><title>PAYLOAD</title>",
    "style": "<!DOCTYPE html><title>x</title><style>PAYLOAD</style>",
    "script": '<!DOCTYPE html><title>x</title><script>x = "PAYLOAD"</script>',
    "comment": "<!DOCTYPE html><title>x</title><!-- PAYLOAD -->",
    "double": '<!DOCTYPE html><title>x</title><div aria-label="PAYLOAD">x</div>',
    "single": "<!DOCTYPE html><title>x</title><div aria-label='PAYLOAD'>x</div>",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><text>PAYLOAD</text></svg>',
    "css": '<svg xmlns="http://www.w3.org/2000/svg"><style>PAYLOAD</style>'
    '<text class="a">a</text></svg>',
}
# {name: (the holder in which it runs by itself, payload)}. The name ends URL.
PAYLOADS = {
    "script": ("body", "<script>RUN</script>"),
    "upper": ("body", "<ScRiPt >RUN</sCrIpT>"),
    "source": ("body", "<script src=URL></script>"),
    "module": ("body", "<script>import('URL')</script>"),
    "image": ("body", '<img src=x: onerror="RUN">'),
    "picture": ("body", "<img src=URL>"),
    "half": ("body", "<img src=URL "),
    "svg": ("body", '<svg onload="RUN">'),
    "slash": ("body", '<svg/onload="RUN">'),
    "details": ("body", '<details open ontoggle="RUN">x</details>'),
    "video": ("body", '<video><source onerror="RUN" src=x:></video>'),
    "object": ("body", "<object data=URL></object>"),
    "embed": ("body", "<embed src=URL>"),
    "frame": ("body", "<iframe src=URL></iframe>"),
    "srcdoc": ("body", "<iframe srcdoc=\"<img src='URL'>\"></iframe>"),
    "sandbox": ("body", '<iframe src="javascript:RUN"></iframe>'),
    "refresh": ("body", '<meta http-equiv=refresh content="0;url=URL">'),
    "base": ("body", "<base href=URL/><img src=x>"),
    "sheet": ("body", "<link rel=stylesheet href=URL>"),
    "import": ("body", "<style>@import url(URL);</style>"),
    "background": ("body", '<p style="background: url(URL)">x</p>'),
    "button": ("body", "<input type=image src=URL>"),
    "link": ("body", '<a href="javascript:RUN" class=press>x</a>'),
    "hover": ("double", '" class="press" onclick="RUN'),
    "math": ("body", '<math><mtext><img src=x: onerror="RUN"></mtext></math>'),
    "vector": ("body", "<svg><image href=URL /></svg>"),
    "foreign": ("body", '<svg><foreignObject><img src=x: onerror="RUN">'),
    "form": ("body", "<form action=URL><input type=submit class=press></form>"),
    "title": ("title", "</title><script>RUN</script>"),
    "style": ("style", "</style><script>RUN</script>"),
    "rule": ("style", "*{background:url(URL)}"),
    "end": ("script", "</script><script>RUN</script>"),
    "comment": ("comment", "--><script>RUN</script>"),
    "bang": ("comment", '--!><img src=x: onerror="RUN">'),
    "data": ("body", "<![CDATA[><script>RUN</script>]]>"),
    "double": ("double", '"><script>RUN</script>'),
    "single": ("single", "'><img src=URL x='"),
    "ink": ("svg", "</text><script>RUN</script><text>"),
    "cdata": ("svg", "<![CDATA[]]></text><script>RUN</script><text>"),
    "photo": ("svg", '</text><image href="URL"/><text>'),
    "missing": ("svg", '</text><image href="x:" onerror="RUN"/><text>'),
    "inside": (
        "svg",
        '</text><foreignObject><img xmlns="http://www.w3.org/1999/xhtml" src="URL"/>'
        "</foreignObject><text>",
    ),
    "face": ("css", '@import url("URL");'),
}
PRESS = "document.querySelectorAll('.press').forEach(one => one.click())"


class Browser:
    """Chromium without a network, and the addresses that its pages ask for.

    Attributes:
      asked: the paths of the requests to a server on this machine.
    """

    def __init__(self, folder: Path):
        self.asked: set[str] = set()
        self._profile = folder / "profile"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.asked))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.place = f"http://127.0.0.1:{self._server.server_port}/"

    def close(self):
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def payload(self, name: str) -> str:
        """Return a payload that asks for this server."""
        text = PAYLOADS[name][1].replace("RUN", RUN)
        return text.replace("URL", self.place + name)

    def open(self, path: Path, milliseconds: int = 500) -> Elements:
        """Open a file, and return the elements that the browser made of it."""
        assert PROGRAM
        flags = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",),
            # A closed port; addresses of this machine are asked without a proxy.
            *("--proxy-server=127.0.0.1:9", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={self._profile}", "--dump-dom"),
            f"--virtual-time-budget={milliseconds}",
        ]
        words = [PROGRAM, *flags, path.as_uri()]
        done = subprocess.run(words, capture_output=True, timeout=120, check=True)
        text = done.stdout.decode()
        assert re.search("<(html|svg)", text), (path, text)
        return Elements(text)


def raw_page(folder: Path, browser: Browser, name: str) -> Path:
    """Write a page that holds a payload as it is, and return its path."""
    holder, _ = PAYLOADS[name]
    text = HOLDERS[holder].replace("PAYLOAD", browser.payload(name))
    kind = "svg" if text.startswith("<svg") else "html"
    if kind == "html" and "press" in text:
        text += f"<script>{PRESS}</script>"
    path = folder / f"raw_{name}.{kind}"
    path.write_text(text, encoding="utf-8")
    return path


def _handler(asked: set[str]) -> type[BaseHTTPRequestHandler]:
    """Return a handler that notes each path, and answers with an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            asked.add(self.path.strip("/?").partition("/")[0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format, *args):
            """Print nothing."""

    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler
