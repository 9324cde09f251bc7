"""``--join``: several processes, on one host or on many, train one model together."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from twotower_jax.errors import (
    InputError,
    NonFiniteLossError,
    SharedBusyError,
    SharedError,
)
from twotower_jax.signals import Stopped
from twotower_jax.sweeps.jobs import SWEEP, report_error

NAME, FORM = "--join", "HOST:PORT,N,I"
# What all processes leave with alike, so that they can wait for each other.
ALIKE = (SharedError, SharedBusyError, NonFiniteLossError, Stopped)
END_SECONDS = 20  # within which the others end too


def without_join(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Words without ``--join``, and its value.

    Examples:
      >>> without_join(["--join", "10.0.0.1:1234,2,0", "seed=1"])
      (['seed=1'], '10.0.0.1:1234,2,0')
      >>> without_join(["--join=auto"])
      ([], 'auto')
      >>> without_join(["seed=1"])
      (['seed=1'], None)
    """
    rest, value, left = [], None, iter(words)
    for word in left:
        name, equals, given = word.partition("=")
        if name != NAME:
            rest.append(word)
            continue
        value = given if equals else next(left, "")
    if value is not None and {"-m", "--multirun"} & set(rest):
        raise InputError(
            f"{NAME} trains one run by several processes, and -m makes many runs; "
            "leave one of them out"
        )
    return rest, value


@contextmanager
def joined(value: str | None) -> Iterator[None]:
    """Context in which this process is one of several; alone without a value."""
    if value is None:
        yield
        return
    _initialize(value)
    import jax

    error: BaseException | None = None
    try:
        yield
    except BaseException as one:
        error = one
        raise
    finally:
        failed = [*SWEEP.failures, *([] if error is None else [error])]
        if all(isinstance(one, ALIKE) for one in failed):
            jax.distributed.shutdown()
        else:
            _leave(error)


def _leave(error: BaseException | None) -> NoReturn:
    """End this process at once: the others would wait for it, and its end ends them."""
    status = SWEEP.exit_status() or 1
    if isinstance(error, Exception):
        status = report_error(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _initialize(value: str) -> None:
    """Join the others."""
    import jax

    given = _arguments(value)
    # Packages that detect a cluster, such as kubernetes, have errors of their own.
    errors = (RuntimeError, ValueError, KeyError) if given else Exception
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM
    try:
        jax.distributed.initialize(**given, shutdown_timeout_seconds=END_SECONDS)
    except errors as error:
        reason = str(error).partition("\n")[0][:300]
        remedy = "with an address of process 0 that they reach and a port that is free"
        if not given:
            remedy = (
                "by srun, by mpirun (Open MPI 5: with jax 0.12 and mpi4py), in an "
                "indexed Job of Kubernetes or on a TPU pod, where jax finds them; "
                f"elsewhere give {FORM}"
            )
        raise InputError(
            f"{NAME} {value}: the processes did not meet ({reason}); start the same "
            f"command on all hosts within five minutes, {remedy}"
        ) from None


def _arguments(value: str) -> dict[str, Any]:
    """The arguments of ``jax.distributed.initialize``; none for "auto"."""
    if value == "auto":
        return {}
    match = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", value)
    if match is None or not int(match[3]) < int(match[2]):
        raise InputError(
            f"{NAME} {value or 'without a value'}: give {FORM} for process I of N, "
            "from 0, such as 10.0.0.1:1234,2,0; or auto, where SLURM, Open MPI, "
            "Kubernetes or a TPU pod tells them"
        )
    return {
        "coordinator_address": match[1],
        "num_processes": int(match[2]),
        "process_id": int(match[3]),
        "cluster_detection_method": "deactivate",
    }
