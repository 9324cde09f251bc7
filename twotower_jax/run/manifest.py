"""How a run was made: command, versions, device and commit, for its manifest.json."""

import importlib.metadata
import os
import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.config.training import MeshConfig
from twotower_jax.registry import load_installed
from twotower_jax.run.folder import RunFolder
from twotower_jax.training.checkpoint import Checkpoints

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
# Keys that can change the last bits of a result, and all that are kept of the earlier
# parts of a training.
DECIDING = ("device", "mesh", "processor", "xla_flags")
PART = ("command", *DECIDING, "python", "versions", "git")
# Instruction sets for vectors, widest first: XLA compiles for the widest, and each adds
# in an order of its own.
VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "asimd")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
LARGEST = 2**24  # bytes of a file of references that is read


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


def training_identity(config: Config, *fingerprints: str | None) -> str:
    """Return what identifies a training: a checkpoint of another one is refused.

    The fingerprints are those of data, weights and lists. The mesh is not part of it: a
    training goes on from a checkpoint of another mesh.
    """
    training = replace(config.training, devices=1, mesh=MeshConfig())
    trained = fingerprint(replace(config, training=training))
    return " ".join(filter(None, [trained, *fingerprints]))


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


# --- the commit -----------------------------------------------------------------------
#
# The program git is not run: in a folder of others, its configuration names programs
# that it would start.


def commit_of(folder: Path) -> str | None:
    """Return the commit that is checked out around a folder, in hexadecimal digits.

    None outside of a repository, without a commit, or where files cannot be read.
    """
    try:
        for parent in (folder, *folder.parents):
            path = parent / ".git"
            if path.is_dir():
                return _head(path)
            if path.exists():  # of a worktree: a file that names the folder
                return _head(parent / _read(path).partition("gitdir:")[2].strip())
    except (OSError, ValueError):
        pass
    return None


def _head(folder: Path) -> str | None:
    """Return the commit of HEAD, which is digits or the name of a branch."""
    folders, commit = [folder], _read(folder / "HEAD").strip()
    if commit.startswith("ref:"):
        name, commit = commit.removeprefix("ref:").strip(), ""
        if ".." in name.split("/"):
            return None
        if (folder / "commondir").is_file():
            folders.append(folder / _read(folder / "commondir").strip())
        for path in reversed([parent / "packed-refs" for parent in folders]):
            for line in _read(path).splitlines() if path.is_file() else ():
                digits, _, packed = line.partition(" ")
                commit = digits if packed == name else commit
        for path in reversed([parent / name for parent in folders]):
            commit = _read(path).strip() if path.is_file() else commit
    return commit if COMMIT.fullmatch(commit) else None


def _read(path: Path) -> str:
    """Return a regular file of at most LARGEST bytes; ValueError for another one."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(path)
    return path.read_text(encoding="utf-8")
