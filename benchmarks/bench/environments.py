"""Environments of the peers, each with its own exact versions."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .processes import BENCHMARKS

NAMES = ("tfrs", "keras_rs", "torch", "faiss", "rectools")
STAMP = ".installed"
LIST = (
    "import json; from importlib.metadata import distributions as d;"
    "print(json.dumps({x.metadata['Name']: x.version for x in d()}))"
)


class Environment(NamedTuple):
    """The environment of a peer.

    Attributes:
      python: its interpreter; None: it could not be installed.
      reason: why it could not be installed.
      versions: of its packages.
    """

    python: Path | None
    reason: str
    versions: dict[str, str]


def environment(name: str, folder: Path) -> Environment:
    """Return the environment of a peer, which is installed on first use.

    Args:
      name: of `peers/NAME.txt`, the exact versions of its packages.
      folder: of all environments.
    """
    pins = BENCHMARKS / "peers" / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    place = folder / name
    stamp, python = place / STAMP, place / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"installing {name}, minutes", file=sys.stderr, flush=True)
        for words in (
            [sys.executable, "-m", "venv", "--clear", place],
            [python, "-m", "pip", "install", "-q", "-r", pins],
        ):
            reason = _call(words)
            if reason:
                return Environment(None, f"{name} is not installed: {reason}", {})
        stamp.write_text(digest)
    return Environment(python, "", versions(python))


def versions(python: str | Path) -> dict[str, str]:
    """Return the versions of all packages of an interpreter, by name."""
    words = [str(python), "-c", LIST]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(sorted(json.loads(done.stdout).items()))


def _call(words: list) -> str:
    """Run a command and return why it failed, or nothing."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[0]
