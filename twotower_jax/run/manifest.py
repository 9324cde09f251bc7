"""How a run was made: command, versions, device and commit, for its manifest.json."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.registry import load_installed
from twotower_jax.run.folder import RunFolder
from twotower_jax.training.checkpoint import Checkpoints

VERSIONS = ("twotower-jax", "jax", "jaxlib", "flax", "optax", "numpy", "polars")
VERSIONS += ("scipy",)
# The rows that optimizer.l2 penalises. Version 0.1 penalised those of negatives too.
L2_PENALTY = "per example, of its query and its positive; negatives have none"
# Keys that can change the last bits of a result, and all that are kept of the earlier
# parts of a training.
DECIDING = ("device", "mesh", "processor", "xla_flags")
PART = ("command", *DECIDING, "python", "versions", "git")
# Instruction sets for vectors, widest first: XLA compiles for the widest, and each adds
# in an order of its own.
VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")


def manifest(config: Config, data_fingerprint: str, device: str, command: str) -> dict:
    """Return the content of manifest.json; the device is the kind of all devices."""
    return {
        "command": command,
        "config_fingerprint": fingerprint(config),
        "data_fingerprint": data_fingerprint,
        "seed": config.seed,
        "device": device,
        "mesh": list(config.training.mesh_shape),
        "processor": processor(Path("/proc/cpuinfo")),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "l2_penalty": L2_PENALTY if config.optimizer.l2 else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS}
        | load_installed(),
        "git": {"commit": commit} if (commit := commit_of(Path.cwd())) else None,
    }


def processor(cpuinfo: Path) -> str:
    """Return the processor and its widest vector instructions: "AMD EPYC, avx2"."""
    name = platform.processor() or platform.machine()
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        return name
    facts = {key.strip(): value.strip() for key, _, value in lines}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = [vectors for vectors in VECTORS if vectors in flags][:1]
    return ", ".join([facts.get("model name") or name, *widest])


def write_manifest(record: RunFolder, made: dict[str, Any], console: Console) -> None:
    """Write manifest.json; of a training that goes on, keep and compare its parts."""
    before = record.read("manifest")
    if before and Checkpoints(record.shared).steps():
        last = {key: before[key] for key in PART if key in before}
        made = made | {"earlier": [*before.get("earlier", []), last]}
        for change in changes(last, made):
            console.print(
                f"the steps so far were made with {change}: the last digits may differ "
                "from those of a training in one part",
                highlight=False,
                markup=False,
            )
    record.write("manifest", made)


def changes(last: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Return what decides the last bits and differs: "jax 0.7.0, now 0.8.0"."""
    pairs = [(key, last[key], made[key]) for key in DECIDING if key in last]
    before = last.get("versions") or {}
    pairs += [(key, before.get(key), now) for key, now in made["versions"].items()]
    return [f"{key} {was}, now {now}" for key, was, now in pairs if was != now]


def commit_of(folder: Path) -> str | None:
    """Return the commit that is checked out around a folder, None where none is."""
    # This command reads files, and starts nothing that a configuration names.
    words = ("git", "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD")
    try:
        done = subprocess.run(  # noqa: S603
            words, cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
