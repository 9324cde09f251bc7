"""The folder of a run: its files, their checksums, and the lock on it.

Every file is written whole (a temporary file, then a rename); only ``metrics.jsonl``
grows by lines. status.json is written last, with checksums of the files on which the
result depends (version 0.1.0 had none): a damaged one is refused where it is read.
"""

import errno
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from twotower_jax.config import Config, fingerprint, from_record, to_dict
from twotower_jax.data.drafts import checksum, draft_of, to_disk
from twotower_jax.data.parse_text import parse_json, parse_yaml
from twotower_jax.data.text_files import plain, read_text, write_json, write_text
from twotower_jax.errors import BusyError, InputError

if TYPE_CHECKING:
    import polars as pl

ON_VALIDATION = "select"  # below the folder of a study: runs on validation alone
STATES = ("running", "paused", "failed", "done")
# The keys that are read from each file, and their types.
NEEDED: dict[str, dict[str, Any]] = {
    "status": {"status": str},
    "manifest": {"data_fingerprint": str},
    "result": {
        "metrics": dict,
        "steps": int,
        "best_step": int,
        "seconds": int | float,
        "examples_per_second": int | float | None,
    },
}
# Files with a checksum, beside the notes of the parameters.
SEALED = (
    *("config.yaml", "manifest.json", "metrics.jsonl", "qrels.trec", "queries.parquet"),
    *("result.json", "topk.parquet", "topk.trec", "vocabulary.json"),
)


# Keys that are gone, with the value of runs that made no use of them.
GONE = {("negatives", "distinct"): False}


def run_folder(config: Config) -> Path:
    """Return output/name/hash, the folder of a run, from its configuration alone."""
    return Path(config.output) / config.name / fingerprint(config)


def runs_in(folder: Path) -> list[Path]:
    """Return the folders of runs with a result, at most two levels below a folder."""
    results = [*folder.glob("*/result.json"), *folder.glob("*/*/result.json")]
    folders = sorted(path.parent for path in results)
    return [path for path in folders if (path / "config.yaml").is_file()]


def stored_config(folder: Path) -> Config:
    """Return the configuration of the run in a folder; InputError where none is."""
    if not (folder / "config.yaml").is_file():
        what = "has no config.yaml" if folder.is_dir() else "is not a folder"
        example = next(iter(runs_in(folder)), "outputs/NAME/HASH")
        raise InputError(
            f"{folder} {what}; give the folder of one run, such as {example}"
        )
    record = RunFolder(folder)
    record.check_seal("config.yaml")
    values = record.config()
    for (section, key), unused in GONE.items():
        if values.get(section, {}).get(key) == unused:
            del values[section][key]
    try:
        return from_record(values)
    except InputError as error:
        versions = (record.read("manifest") or {}).get("versions") or {}
        version = versions.get("twotower-jax", "another version")
        raise InputError(
            f"{folder / 'config.yaml'}: {error}; twotower-jax {version} wrote it"
        ) from None


def read_mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return the content of a file of keys with values; InputError for a broken one."""
    try:
        # A pipe is not read: it would be waited for.
        readable = path.is_file() or not path.exists()
        values = parse(read_text(path)) if readable else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(
            f"{path} is broken; restore the file, or remove its folder and run again"
        )
    return values


class RunFolder:
    """Reads and writes the files of one run."""

    # Of several processes each has a folder of its own; ``shared`` has the checkpoints.
    def __init__(self, path: Path | str, shared: Path | None = None):
        self.path = Path(path)
        self.shared = shared or self.path

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration as nested dictionaries."""
        return read_mapping(self.path / "config.yaml", parse_yaml)

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration."""
        text = yaml.safe_dump(to_dict(config), sort_keys=False)
        write_text(self.path / "config.yaml", text)

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file of the run ("status", "manifest", "result"), or None."""
        path = self.path / f"{name}.json"
        if not path.is_file():
            return None
        values = read_mapping(path, parse_json)
        needed = NEEDED[name].items()
        broken = [k for k, kinds in needed if not isinstance(values.get(k, ()), kinds)]
        if name == "result" and not broken:
            tables = values["metrics"]
            whole = all(isinstance(table, dict) for table in tables.values())
            broken = [] if whole and {"test", "valid"} & set(tables) else ["metrics"]
        if name == "status" and not broken and values["status"] not in STATES:
            broken = ["status"]
        if broken:
            raise InputError(
                f"{path} is broken: {broken[0]} is missing or of another kind; restore "
                "the file, or remove its folder and run again"
            )
        return values

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file of the run ("status", "manifest", "result")."""
        write_json(self.path / f"{name}.json", values)

    def write_table(self, name: str, table: "pl.DataFrame") -> None:
        """Write a parquet file whole or not at all."""
        with draft_of(self.path / name) as draft:
            table.write_parquet(draft)

    def set_status(self, status: str, reason: str | None = None) -> None:
        """Write one of `STATES` but "done", and the reason of a failure or a stop."""
        values: dict[str, Any] = {"status": status, "reason": reason}
        path = self.path / "metrics.jsonl"
        if reason is not None and path.is_file():  # the run goes on with its records
            values["sha256"] = {path.name: checksum(path)}
        self.write("status", values)

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, and then that the run is done, with checksums."""
        self.write("result", result)
        params = sorted((self.path / "checkpoints").glob("*-params.json"))
        names = [*SEALED, *(f"checkpoints/{path.name}" for path in params)]
        paths = {name: self.path / name for name in names}
        sums = {name: checksum(path) for name, path in paths.items() if path.is_file()}
        self.write("status", {"status": "done", "reason": None, "sha256": sums})

    def is_done(self) -> bool:
        """Return whether the run finished."""
        status = self.read("status")
        return status is not None and status["status"] == "done"

    def result(self) -> dict[str, Any]:
        """Return result.json of a finished run, whose files are as it wrote them."""
        if not self.is_done():
            command = (self.read("manifest") or {}).get("command")
            values = self.read("status")
            state = "status.json is missing"
            if values is not None:
                reason = str(values.get("reason") or "").partition("\n")[0]
                state = f"status: {values['status']}{reason and f', {reason}'}"
            raise InputError(
                f"{self.path} holds no finished run ({state}); run its command "
                f"again first{f': {command}' if command else ''}"
            )
        result = self.read("result")
        if result is None or self.read("manifest") is None:
            name = "manifest.json" if result else "result.json"
            raise InputError(
                f"{self.path}/{name} is missing, though the run finished; restore "
                "the file, or remove its folder and run again"
            )
        self.check_seal()
        return result

    def check_seal(self, *names: str) -> None:
        """Refuse files, by default all, that are not as the finished run wrote them."""
        sums = (self.read("status") or {}).get("sha256")
        change = damage(self.path, sums if isinstance(sums, dict) else {}, *names)
        if change is not None:
            raise InputError(
                f"{self.path}: {change}; restore the file, or remove the folder and "
                "run again"
            )

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl; broken lines are left out."""
        return [record for record in map(_record, self._lines()) if record is not None]

    def add_metrics(self, record: dict[str, Any]) -> None:
        """Append a line, on the disk before any checkpoint after it."""
        path = self.path / "metrics.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(record)) + "\n")
        to_disk(path)

    def keep_metrics(self, last_step: int) -> int:
        """Drop lines that are broken or after a step; return how many were broken."""
        lines, path = self._lines(), self.path / "metrics.jsonl"
        if not lines and not path.is_symlink():  # nothing is written through a link
            return 0
        pairs = [(_record(line), line) for line in lines]
        kept = [line for made, line in pairs if made and made["step"] <= last_step]
        write_text(path, "".join(f"{line}\n" for line in kept))
        # A kill may have cut off the last one.
        return sum(record is None for record, _ in pairs[:-1])

    def _lines(self) -> list[str]:
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def damage(folder: Path, sums: Mapping[str, object], *names: str) -> str | None:
    """Return what happened to the first file without its SHA-256, or None."""
    for name in names or SEALED:
        if name in sums and not (folder / name).is_file():
            return f"{name} is missing"
        if name in sums and checksum(folder / name) != sums[name]:
            return f"{name} is not as the run wrote it (another checksum)"
    return None


# --- the lock -------------------------------------------------------------------------

SECONDS = 1.0  # between two looks at a lock of another process
# Errors of a file system without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)


@contextmanager
def held(
    folder: Path,
    wait: bool,
    say: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Context in which no other process works on a folder; else BusyError, or wait."""
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path, is_singleton=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        text = f"{folder} is in use by {_holder(path)}"
        if wait:
            say(f"{text}; waiting for its end")
            with suppress(Timeout):
                lock.acquire(poll_interval=SECONDS, cancel_check=stopped)
        if not lock.is_locked:
            remedy = "wait for its end, or choose another name="
            raise BusyError(f"{text}; {remedy}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(f"{folder.parent} has no locks ({error.strerror}): start one process")
    try:
        path.write_text(json.dumps({"process": os.getpid(), "host": platform.node()}))
        for draft in folder.glob(".*.tmp"):  # of processes that ended as they wrote
            draft.unlink(missing_ok=True)
        yield
    finally:
        # Removed while it is held: a process that opened it before looks again.
        try:
            path.unlink(missing_ok=True)
        finally:
            lock.release()
        with suppress(OSError):  # a parent holds files
            for parent in made:
                parent.rmdir()


def _holder(path: Path) -> str:
    """Return the holder that the file of a lock names, in words."""
    try:
        holder = parse_json(read_text(path))
        return f"process {holder['process']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
