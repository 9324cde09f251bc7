"""How a run was made: command, versions, device and commit, for its manifest.json."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from twotower_jax.config import Config, fingerprint

VERSIONS = (
    "twotower-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "polars",
    "scipy",
)
# The rows that optimizer.l2 penalises. Version 0.1 penalised those of negatives too.
L2_PENALTY = "per example, of its query and its positive; negatives have none"
# Instruction sets for vectors, widest first: XLA compiles for the widest, and each adds
# in an order of its own.
VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")


def manifest(config: Config, data_fingerprint: str, device: str, command: str) -> dict:
    """Return the content of manifest.json: how the run was made.

    Args:
      config: the run.
      data_fingerprint: of its data.
      device: kind of its devices.
      command: that started it.
    """
    return {
        "command": command,
        "config_fingerprint": fingerprint(config),
        "data_fingerprint": data_fingerprint,
        "seed": config.seed,
        "device": device,
        "processor": processor(Path("/proc/cpuinfo")),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "l2_penalty": L2_PENALTY if config.optimizer.l2 else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "git": git_state(),
    }


def processor(cpuinfo: Path) -> str:
    """Return the processor and its widest vector instructions: "AMD EPYC, avx2".

    Args:
      cpuinfo: file in which Linux describes its processors; without it, the name alone.
    """
    name = platform.processor() or platform.machine()
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        return name
    facts = {key.strip(): value.strip() for key, _, value in lines}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = [vectors for vectors in VECTORS if vectors in flags][:1]
    return ", ".join([facts.get("model name") or name, *widest])


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it is clean, or None."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "clean": _git("status", "--porcelain") == ""}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
