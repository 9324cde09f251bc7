"""Fail the writing calls of a command in the C library, one or all from one on.

`python failing_calls.py NAME FOLDER TRIALS`, with the library of failing_calls.c loaded
before Python. Trials are lines of JSON.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from helpers import tiny
from helpers.chaos import results

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
FOR_EVER = 2**40
LOG = "user,item,click\n" + "".join(
    f"u{n % 37},i{n * n % 23},{n % 2}\n" for n in range(900)
)


@contextlib.contextmanager
def shown():
    """Context of a list that gets all that is printed, by libraries too, at its end."""
    said, kept = [], (os.dup(1), os.dup(2))
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, one in enumerate(kept, 1):
                os.dup2(one, number)
                os.close(one)
            file.seek(0)
            said.append(file.read())


def command(words, below="", first=0, last=0):
    """Run a command; its writing calls below a folder, first to last, fail.

    Return the status, the messages, and the number of those calls.
    """
    library = ctypes.CDLL(None)
    error = ERRORS[first % len(ERRORS)]
    numbers = ctypes.c_long(first), ctypes.c_long(last)
    with shown() as said:
        try:
            library.fail_calls(str(below).encode(), *numbers, error)
            status = tiny.command(*words)
        finally:
            seen = library.calls_seen()
            library.fail_calls(b"", ctypes.c_long(0), ctypes.c_long(0), 0)
    return status, "".join(said), seen


def bytes_of(folder):
    """Return {file: checksum} of a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".tmp")
    }


def prepared(name, folder):
    """Return the words of a command but its folder, and what reads its result.

    Write the files that it reads.
    """
    if name == "train":
        return lambda out: ("train", *tiny.SMALL, f"output={out}"), results
    if name == "prepare":
        (folder / "log.csv").write_text(LOG)
        words = ("data", "prepare", "data=table", f"data.path={folder / 'log.csv'}")
        return lambda out: (*words, "--out", str(out)), bytes_of
    output = folder / "studied"
    words = ("train", "-m", *tiny.SMALL, "arms=uniform,in_batch", "seed=0,1")
    status, said, _ = command((*words, f"output={output}"))
    assert status == 0, said
    (run, *_) = sorted(output.glob("simulator/*/result.json"))
    read = str(run.parent if name == "export" else run.parents[1])
    return lambda out: (name, read, "--out", str(out)), bytes_of


def main(name, folder, trials):
    """Run the trials of a command: each is a failure, and the same command again."""
    words_of, content = prepared(name, folder)
    for out in ("first", "whole"):
        begin = folder / out / "out"
        status, said, number = command(words_of(begin), below=folder / out)
        assert status == 0, said
    whole = content(folder / "whole" / "out")
    print(json.dumps({"calls": number}), flush=True)
    places = np.random.default_rng(0).permutation(number)[:trials]
    for place in sorted(int(one) + 1 for one in places):
        out = folder / f"{place}" / "out"
        last = (place, FOR_EVER)[place % 2]
        status, said, _ = command(words_of(out), out.parent, place, last)
        found = {"place": place, "for ever": last > place, "status": status}
        again = 0
        if name != "export" or not out.exists():
            again, more, _ = command(words_of(out))
            found["again"] = more if again else ""
        found |= {"said": said, "same": again == 0 and content(out) == whole}
        print(json.dumps(found), flush=True)
        shutil.rmtree(out.parent)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
