"""The folder of a run: configuration, manifest, status, metrics, result.

Every file is written whole (a temporary file, then a rename), so that a process killed
at any moment, or a power cut, leaves readable files. Only ``metrics.jsonl`` grows by
lines.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twotower_jax.config import Config, fingerprint, from_record, to_dict
from twotower_jax.config.parse_text import parse_json, parse_yaml
from twotower_jax.data.drafts import draft_of, to_disk
from twotower_jax.data.text_files import plain, read_text, write_json, write_text
from twotower_jax.errors import InputError
from twotower_jax.run.old_runs import modernised
from twotower_jax.run.seal import check_seal, checksums

if TYPE_CHECKING:
    import polars as pl

# The keys that are read from each file, and their types.
ON_VALIDATION = "select"  # below the folder of a study: runs on validation alone
STATES = ("running", "paused", "failed", "done")
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


def run_folder(config: Config) -> Path:
    """Return output/name/hash, the folder of a run, from its configuration alone.

    Examples:
      >>> run_folder(Config(name="first")).parent.as_posix()
      'outputs/first'
      >>> run_folder(Config(arm="a")) == run_folder(Config(arm="b"))  # a label
      True
      >>> run_folder(Config(seed=0)) == run_folder(Config(seed=1))
      False
    """
    return Path(config.output) / config.name / fingerprint(config)


def read_mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Content of a file that holds keys with values.

    Args:
      path: of the file.
      parse: its text -> content; ValueError where it is broken.

    Raises:
      InputError: when the file is broken.
    """
    try:
        # A pipe is not read: it would be waited for.
        whole = path.is_file() or not path.exists()
        values = parse(read_text(path)) if whole else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(
            f"{path} is broken; restore the file, or remove its folder and run again"
        )
    return values


class RunFolder:
    """Reads and writes the files of one run.

    Args:
      path: of the folder.
      shared: folder with the checkpoints, where several processes train; the same
        folder by default.
    """

    def __init__(self, path: Path | str, shared: Path | None = None):
        self.path = Path(path)
        self.shared = shared or self.path
        self.listeners: list[Callable[[dict[str, Any]], None]] = []

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

    def result(self) -> dict[str, Any]:
        """Return result.json of a finished run.

        Raises:
          InputError: when the run did not finish, or one of its files is broken,
            missing, or not as it was written.
        """
        if not self.is_done():
            raise InputError(
                f"{self.path} holds no finished run ({self._state()}); run its command "
                f"again first{self._command()}"
            )
        result = self.read("result")
        if result is None or self.read("manifest") is None:
            name = "manifest.json" if result else "result.json"
            raise InputError(
                f"{self.path}/{name} is missing, though the run finished; restore "
                "the file, or remove its folder and run again"
            )
        check_seal(self.path, self.checksums())
        return result

    def checksums(self) -> dict[str, Any]:
        """Return the checksums of a finished run; none of other runs."""
        kept = (self.read("status") or {}).get("sha256")
        return kept if isinstance(kept, dict) else {}

    def _state(self) -> str:
        """Return the status of a run that is not done, and the reason of a failure."""
        values = self.read("status")
        if values is None:
            return "status.json is missing"
        reason = str(values.get("reason") or "").partition("\n")[0]
        return f"status: {values['status']}{reason and f', {reason}'}"

    def _command(self) -> str:
        """Return the command of the run after a colon; "" where it is not known."""
        command = (self.read("manifest") or {}).get("command")
        return f": {command}" if command else ""

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file of the run.

        Args:
          name: "status", "manifest" or "result".
          values: its content.
        """
        write_json(self.path / f"{name}.json", values)

    def set_status(self, status: str, reason: str | None = None) -> None:
        """Write status.json.

        Args:
          status: one of `STATES` but "done".
          reason: of a failure or of a stop.
        """
        self.write("status", {"status": status, "reason": reason})

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, and then that the run is done, with checksums."""
        self.write("result", result)
        done = {"status": "done", "reason": None, "sha256": checksums(self.path)}
        self.write("status", done)

    def is_done(self) -> bool:
        """Return whether the run finished."""
        status = self.read("status")
        return status is not None and status["status"] == "done"

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl; broken lines are left out."""
        return [record for record in map(_record, self._lines()) if record is not None]

    def keep_metrics(self, last_step: int) -> int:
        """Drop broken lines of metrics.jsonl, and those after a step.

        Args:
          last_step: Those after it will be written again.

        Returns:
          The number of broken lines; the last line, which a kill may cut off, does not
          count.
        """
        lines, path = self._lines(), self.path / "metrics.jsonl"
        if not lines and not path.is_symlink():  # nothing is written through a link
            return 0
        pairs = [(_record(line), line) for line in lines]
        kept = [
            line + "\n"
            for record, line in pairs
            if record and record["step"] <= last_step
        ]
        write_text(path, "".join(kept))
        return sum(record is None for record, _ in pairs[:-1])

    def _lines(self) -> list[str]:
        """Return the lines of metrics.jsonl, none where it is missing."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()

    def add_metrics(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl, and pass the record to the listeners.

        The line is on the disk before the checkpoint that goes on after it.
        """
        path = self.path / "metrics.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(record)) + "\n")
        to_disk(path)
        for listener in self.listeners:
            listener(record)

    def write_table(self, name: str, table: "pl.DataFrame") -> None:
        """Write a parquet file whole or not at all.

        Args:
          name: of the file, such as ``queries.parquet``.
          table: its rows.
        """
        with draft_of(self.path / name) as draft:
            table.write_parquet(draft)


def _record(line: str) -> dict[str, Any] | None:
    """Return the record of a line of metrics.jsonl, None of a broken one."""
    try:
        record = parse_json(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def stored_config(folder: Path) -> Config:
    """Return the configuration of the run in a folder.

    Raises:
      InputError: when the folder does not hold a run, or its config.yaml is not valid.
    """
    if not (folder / "config.yaml").is_file():
        what = "has no config.yaml" if folder.is_dir() else "is not a folder"
        example = next(iter(runs_in(folder)), "outputs/NAME/HASH")
        raise InputError(
            f"{folder} {what}; give the folder of one run, such as {example}"
        )
    record = RunFolder(folder)
    check_seal(folder, record.checksums(), "config.yaml")
    result, values = record.read("result") or {}, record.config()
    try:
        return from_record(modernised(values, result))
    except InputError as error:
        raise InputError(f"{folder / 'config.yaml'}: {error}") from None


def runs_in(folder: Path) -> list[Path]:
    """Return folders of finished runs, at most two levels below a folder.

    Args:
      folder: such as ``outputs``.
    """
    found = [*folder.glob("*/result.json"), *folder.glob("*/*/result.json")]
    places = sorted(path.parent for path in found)
    return [place for place in places if (place / "config.yaml").is_file()]
