"""`twotower data prepare` is killed at random moments, until each log is whole."""

import time

import numpy as np
import pytest
from helpers import long_log, tiny
from helpers.chaos import campaign, contents, remains, trials, wait_or_kill

LIMIT = 600


@pytest.mark.slow
def test_kills_change_no_byte_of_a_prepared_log(tmp_path):
    rng, log = np.random.default_rng(0), tmp_path / "log"
    words = long_log.write(tmp_path / "files")

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
