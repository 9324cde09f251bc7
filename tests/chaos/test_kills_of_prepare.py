"""`twotower data prepare` is killed at random moments, until each log is whole."""

import time

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.chaos import campaign, remains, trials, wait_or_kill

LIMIT = 600
FILES, ROWS = 12, 40_000


def write_log(folder):
    """Write a log as several files, whose ids grow from file to file."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(FILES):
        span = 300 * (number + 1)
        item = (rng.random(ROWS) ** 2 * span).astype(int)
        frame = pl.DataFrame(
            {
                "user": [f"u{one}" for one in rng.integers(0, 4 * span, ROWS)],
                "item": [f"i{one}" for one in item],
                "time": 1_600_000_000 + number * ROWS + np.arange(ROWS),
                "shop": item % 7,
            }
        )
        frame.write_parquet(folder / f"{number:02}.parquet", row_group_size=10_000)


def contents(folder):
    """Return {file: bytes} of a prepared folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_kills_change_no_byte_of_a_prepared_log(tmp_path):
    rng, log = np.random.default_rng(0), tmp_path / "log"
    files = tmp_path / "files"
    write_log(files)
    words = (
        *("data=table", f"data.path={files}", "data.columns.time=time"),
        *("data.candidate_features={shop:categorical}", "data.split=temporal"),
    )

    def prepare(output):
        command = ("data", "prepare", *words, "--out", str(output))
        return tiny.start(command, cwd=tmp_path, cache=tmp_path / "programs", log=log)

    begin = time.monotonic()
    assert prepare(tmp_path / "whole").wait(LIMIT) == 0, log.read_text()
    seconds, whole = time.monotonic() - begin, contents(tmp_path / "whole")
    kills = ends = refused = 0
    with campaign("kills of data prepare") as counts:
        while kills < trials(100):
            output, ended = tmp_path / f"killed{ends}", False
            begun = kills
            while not ended:
                process = prepare(output)
                kills += wait_or_kill(process, rng, seconds, kills - begun)
                code, text = process.wait(LIMIT), log.read_text()
                assert "Traceback" not in text, text
                ended = code == 0
                if not ended and output.exists():
                    # A part of a log is refused.
                    read = ("data", "check", "data=prepared", f"data.path={output}")
                    taken = tiny.command(*read) == 0
                    assert not taken or contents(output) == whole
                    refused += not taken
            assert contents(output) == whole and not remains(output)
            ends += 1
        counts |= {"kills": kills, "ends": ends, "refused": refused}
