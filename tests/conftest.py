"""Settings of every test: strict JAX, repeatable hypothesis, one key."""

import atexit
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Nothing is left in the user's cache folder.
os.environ["TWOTOWER_CACHE"] = ""
# Processes that tests start keep the bytecode of 400 modules, which the next ones read.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What a test has compiled, later tests and the processes that they start read from
# disk. Every worker has a folder of its own, because JAX does not write these files
# atomically; finished ones go to the other workers by the folder that all share.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="twotower-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Programs do not hold the lines of Python that they come from: that takes time.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# Without optimisation they compile in half of the time, and run longer.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = (
    "0" if os.environ.get("TWOTOWER_TESTS_OPTIMIZED") else "1"
)

import jax
import pytest
from hypothesis import settings

from twotower_jax.compiler import with_flags

# Strict from the start: no silent broadcasting between ranks, typed keys only.
# 64 bits stay off; a test of numerics asks for them with `jax.enable_x64(True)`.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")

# The same examples on every machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Most of the time of the tests is that of compiling small programs. XLA does
# little to optimise their machine code, here and in the processes that tests start:
# next to nothing, but for files of the mark `long_programs`. `make test-all` keeps
# them, so that every test also sees the programs of users. XLA aborts at a flag that
# it does not know.
QUICKEST = not os.environ.get("TWOTOWER_TESTS_OPTIMIZED")
QUICK = {"xla_backend_optimization_level": "1"}
QUICK |= {"xla_llvm_disable_expensive_passes": "true"}
QUICK |= {"xla_cpu_parallel_codegen_split_count": "1"}
if metadata.version("jaxlib").startswith("0.10."):
    QUICK |= {"xla_cpu_use_fusion_emitters": "false"}
flags = os.environ.get("XLA_FLAGS", "").split()  # workers inherit those of QUICK
if QUICKEST:
    flags += [f"--{k}={v}" for k, v in QUICK.items() if f"--{k}={v}" not in flags]
# As commands do, so that every process has the same flags.
os.environ["XLA_FLAGS"] = with_flags(" ".join(flags))

# Mappings of memory above which compiled programs are forgotten, `_forget_programs`.
MOST_MAPPINGS = 20_000
PROGRAMS = os.environ["JAX_COMPILATION_CACHE_DIR"]
atexit.register(shutil.rmtree, PROGRAMS, ignore_errors=True)
# The process that starts the workers makes the folder, and they inherit its name.
SHARED = os.environ.get("TWOTOWER_TESTS_SHARED", "")
if not SHARED:
    SHARED = tempfile.mkdtemp(prefix="twotower-shared-")
    atexit.register(shutil.rmtree, SHARED, ignore_errors=True)
    os.environ["TWOTOWER_TESTS_SHARED"] = SHARED


def pytest_configure(config: pytest.Config) -> None:
    """Give files to the workers in their order: whole runs early, short examples last.

    By default xdist starts the files of many tests, and the longest have few.
    """
    config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """Keep what the tests have imported out of the collections of garbage.

    Tracing makes many objects and so starts many collections, which would go through
    every module and test each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _pass_on(source: str, target: str) -> None:
    """Link the compiled programs of a folder into another one."""
    for name in {*os.listdir(source)} - {*os.listdir(target)}:
        with contextlib.suppress(FileExistsError):  # another worker was first
            os.link(os.path.join(source, name), os.path.join(target, name))


def _mappings() -> int:
    """Return the number of mappings of memory of this process."""
    try:
        with open("/proc/self/maps", "rb") as lines:
            return sum(1 for _ in lines)
    except OSError:  # not Linux
        return MOST_MAPPINGS


@pytest.fixture(autouse=True, scope="module")
def _forget_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget compiled programs after a file of tests, where there are many.

    Linux gives a process 65,530 mappings of memory by default, a compiled program takes
    about 30, and XLA aborts where it gets none. Programs of other files are read again
    from disk, and traced again.
    """
    long = request.node.get_closest_marker("long_programs")
    jax.config.update("jax_disable_most_optimizations", QUICKEST and not long)
    _pass_on(SHARED, PROGRAMS)
    if long:
        jax.clear_caches()
    yield
    _pass_on(PROGRAMS, SHARED)
    if long or _mappings() >= MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key() -> jax.Array:
    """Return a typed JAX key; fold in or split it for more."""
    return jax.random.key(0)
