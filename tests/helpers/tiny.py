"""Runs in a tiny world, for the end-to-end tests."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from twotower_jax.cli import main
from twotower_jax.config import Config
from twotower_jax.sweeps.compose import compose_config

WORLD = (
    "data.simulator.users=200",
    "data.simulator.items=300",
    "data.simulator.requests=3000",
)
# The same shapes everywhere, so that one process compiles each program once.
SMALL = (
    *WORLD,
    "towers.dim=8",
    "towers.query=[id]",
    "towers.candidate=[id]",
    "optimizer=adagrad",
    "training.batch_size=256",
    "training.steps=40",
    "training.eval_every=10",
    "evaluation.k=[10,20]",
)


def make_config(output: Path, *overrides: str) -> Config:
    """Return a small configuration as the command line composes it."""
    return replace(_composed(overrides), output=str(output))


@functools.lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> Config:
    """Return a small configuration; Hydra takes a tenth of a second for one."""
    return compose_config([*SMALL, *overrides])


def command(*words: str) -> int:
    """Run a command line in this process and return its exit status."""
    try:
        main(list(words))
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code
    raise AssertionError("main returned without an exit status")


def start(
    words, *, cwd: Path, cache: Path, log: Path, more: dict[str, str] | None = None
) -> subprocess.Popen:
    """Start a command line in a process of its own, and return it.

    Its output goes to log; ``more`` are variables of its environment.
    """
    env = os.environ | (more or {})
    env |= {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "twotower_jax", *words],
            cwd=cwd,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def copy_run(run: Path, folder: Path) -> Path:
    """Copy the folder of a run below another folder, and return the copy."""
    path = folder / "outputs" / "simulator" / run.name
    return Path(shutil.copytree(run, path))


def unseal(run: Path) -> None:
    """Remove the checksums of a finished run, as version 0.1.0 wrote none."""
    status = {"status": "done", "reason": None}
    (run / "status.json").write_text(json.dumps(status), encoding="utf-8")


def read_json(path: Path) -> dict:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict]:
    """Return the records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
