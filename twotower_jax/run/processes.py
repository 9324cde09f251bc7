"""A run of several processes: their agreement before it, and the folder of each."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax

from twotower_jax import __version__, errors
from twotower_jax.arrays.processes import alone, gathered_texts, leads, meet
from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import leaves
from twotower_jax.data.drafts import scratch
from twotower_jax.run.folder import RunFolder


@contextmanager
def raise_everywhere() -> Iterator[None]:
    """Re-raise the error of any process in every process, as SharedError."""
    if alone():
        yield
        return
    error: Exception | None = None
    try:
        yield
    except (errors.InputError, errors.BusyError, OSError) as raised:
        error = raised
    message = (isinstance(error, errors.BusyError), str(error) or repr(error))
    texts = gathered_texts("" if error is None else json.dumps(message))
    for process, text in enumerate(texts):
        if text:
            busy, words = json.loads(text)
            kind = errors.SharedBusyError if busy else errors.SharedError
            raise kind(f"process {process} of {len(texts)}: {words}") from error


def check_same_command(config: Config) -> None:
    """Refuse processes with other configurations, versions or numbers of devices."""
    if alone():
        return
    versions = {"twotower-jax": __version__, "jax": jax.__version__}
    counts = {"devices of a process": jax.local_device_count()}
    values = dict(leaves(to_dict(config))) | versions | counts
    check_same(values, "start the same command on all hosts")
    devices, mesh = jax.device_count(), config.training.mesh_shape
    if mesh[0] * mesh[1] != devices:
        raise errors.SharedError(
            f"training.mesh.data={mesh[0]} times training.mesh.table={mesh[1]} is not "
            f"{devices}, the devices of the {jax.process_count()} processes; set, for "
            f"example, training.mesh.data=1 training.mesh.table={devices}"
        )


def check_same(values: Mapping[str, Any], remedy: str) -> None:
    """Refuse processes of which one has another value of a key."""
    first, *others = map(json.loads, gathered_texts(json.dumps(values, default=str)))
    for process, other in enumerate(others, 1):
        for key in first | other:
            if first.get(key) != other.get(key):
                raise errors.SharedError(
                    f"process {process} has {key}={other.get(key)}, but process 0 has "
                    f"{first.get(key)}; {remedy}"
                )


@contextmanager
def workplace(
    folder: Path, hold: Callable[[], AbstractContextManager[None]]
) -> Iterator[RunFolder]:
    """Context with the folder in which this process works; ``hold`` locks the run's."""
    with ExitStack() as stack:
        with raise_everywhere():
            stack.enter_context(hold() if leads() else nullcontext())
        if leads():
            record = RunFolder(folder)
        else:
            record = RunFolder(stack.enter_context(scratch()), shared=folder)
            for path in folder.glob("[!.]*") if folder.is_dir() else ():
                if path.is_file():
                    shutil.copy(path, record.path)
        meet("the files of the run are copied")
        yield record


@contextmanager
def connected() -> Iterator[None]:
    """Context that reports a lost connection by its cause and its remedy."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if alone() or "RESOURCE_EXHAUSTED" in str(error):
            raise
        first_line = str(error).partition("\n")[0][:200]
        raise errors.LostProcessError(
            f"the connection to another process is lost ({first_line}); it "
            "has ended, with the reason in its own output. The same command on all "
            "hosts goes on from the last checkpoint"
        ) from None
