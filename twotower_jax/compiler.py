"""JAX's compiler: a flag that makes programs faster, and a cache of programs on disk.

The flag changes the order of some sums, and with it last bits of results. The cache
changes nothing: a program from it has the bits of the compiled one.
"""

import functools
import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import jax

# By default JAX keeps programs that took a second to compile; most here take less.
LEAST_SECONDS = 0.1

# Machine code for a CPU. LLVM unrolls the loop over a row of a table before it looks
# for vectors, so that a gather moves number by number. Vectors of 512 bits, which are
# not the default, make arctan wrong in jaxlib 0.10.2.
FLAGS = {"xla_backend_extra_options": "xla_cpu_disable_loop_unrolling"}


def set_up() -> None:
    """Set the flag and the cache; called before JAX compiles a program."""
    os.environ["XLA_FLAGS"] = with_flags(os.environ.get("XLA_FLAGS", ""))
    keep_programs()


def with_flags(words: str) -> str:
    """Flags of XLA with `FLAGS`; those that the words name go first.

    Examples:
      >>> with_flags("--xla_dump_to=dump")  # doctest: +ELLIPSIS
      '--xla_dump_to=dump --xla_backend_extra_options=xla_cpu_disable_loop_...'
    """
    named = {word.lstrip("-").partition("=")[0] for word in words.split()}
    more = [f"--{name}={value}" for name, value in FLAGS.items() if name not in named]
    return " ".join([*words.split(), *more])


@functools.cache
def keep_programs() -> Path | None:
    """Keep compiled programs in a folder; called before JAX compiles a program.

    The environment variable ``TWOTOWER_CACHE`` names the folder, and an empty value
    turns the cache off. By default it is ``twotower_jax`` in the user's cache folder.
    JAX's own settings go first. If the folder cannot be written, there is a note on
    stderr, and no cache.
    """
    setting = os.environ.get("TWOTOWER_CACHE")
    if setting == "" or jax.config.values.get("jax_compilation_cache_dir"):
        return None
    try:
        folder = Path(setting) if setting else _user_cache() / "twotower_jax"
        folder = folder.expanduser().absolute() / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _remove_empty(folder)
    except (OSError, RuntimeError) as error:
        text = f"note: no cache of compiled programs ({error}); set TWOTOWER_CACHE"
        print(text, file=sys.stderr)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def _remove_empty(folder: Path) -> None:
    """Remove the empty files that a power cut leaves.

    JAX would warn of each in every later command, and never write it anew.
    """
    with os.scandir(folder) as entries:
        found = [one.path for one in entries if one.name.endswith("-cache")]
    for path in found:
        with suppress(FileNotFoundError):  # another command has removed it
            if os.path.getsize(path) == 0:
                os.unlink(path)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """Return a name of the processor's instructions; machines may share a home."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return hashlib.sha256("".join(flags[:1]).encode()).hexdigest()[:10]
