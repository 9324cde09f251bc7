"""JAX's cache of compiled programs on disk, so that the next process compiles less.

It decides no number: a program that is read has the bits of the one that was written.
"""

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import jax

# JAX keeps programs that took a second to compile; most of ours take less.
LEAST_SECONDS = 0.1


@functools.cache
def keep_programs() -> Path | None:
    """Keep compiled programs in a folder; called before JAX compiles anything.

    The folder is that of the environment variable ``TWOTOWER_CACHE``, empty for none;
    else ``twotower_jax`` in the user's cache folder. JAX's own settings go first. A
    folder that cannot be written is no error: a note on stderr, and no cache.

    Returns:
      The folder, None where none is set here.
    """
    chosen = os.environ.get("TWOTOWER_CACHE")
    if chosen == "" or jax.config.values.get("jax_compilation_cache_dir"):
        return None
    try:
        folder = Path(chosen) if chosen else _user_cache() / "twotower_jax"
        folder = folder.expanduser().absolute() / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        text = f"note: no cache of compiled programs ({error}); set TWOTOWER_CACHE"
        print(text, file=sys.stderr)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """Return a name of what the processor can do: homes are shared by machines."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    able = [line for line in lines if line.startswith(("flags", "Features"))]
    return hashlib.sha256("".join(able[:1]).encode()).hexdigest()[:10]
