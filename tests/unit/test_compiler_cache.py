"""Compiled programs on disk: where, whether they are read, and when there are none."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import jax
import numpy as np
from jax import monitoring

from twotower_jax import compiler

hits = []


def note(event, **_):
    if event.endswith("cache_hits"):
        hits.append(event)


monitoring.register_event_listener(note)
compiler.LEAST_SECONDS = 0
print(compiler.keep_programs())
product = jax.jit(lambda x: jax.numpy.sin(x) @ x.T)(np.ones((7, 5), np.float32))
print(np.asarray(product).tobytes().hex())
print(len(hits))
"""


def start(**settings):
    """Return folder, bits, hits and notes of a process with these variables."""
    env = {k: v for k, v in os.environ.items() if "CACHE" not in k} | settings
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    folder, bits, hits = done.stdout.splitlines()
    return folder, bits, int(hits), done.stderr


def test_the_next_process_reads_what_one_has_compiled(tmp_path):
    folder, bits, hits, _ = start(XDG_CACHE_HOME=str(tmp_path))
    assert folder.startswith(str(tmp_path / "twotower_jax")) and hits == 0
    again = start(XDG_CACHE_HOME=str(tmp_path))
    assert again[:2] == (folder, bits) and again[2] > 0
    # And the bits are those of a process without the cache.
    off = start(XDG_CACHE_HOME=str(tmp_path), TWOTOWER_CACHE="")
    assert off == ("None", bits, 0, "")


def test_the_user_names_the_folder(tmp_path):
    mine = start(TWOTOWER_CACHE=str(tmp_path / "mine"), HOME=str(tmp_path / "home"))
    assert mine[0].startswith(str(tmp_path / "mine"))
    assert not (tmp_path / "home").exists()


def test_the_setting_of_jax_goes_first(tmp_path):
    home, theirs = tmp_path / "home", tmp_path / "theirs"
    folder, *_ = start(JAX_COMPILATION_CACHE_DIR=str(theirs), HOME=str(home))
    assert folder == "None"
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path):
    (tmp_path / "file").write_text("")
    folder, _, _, notes = start(TWOTOWER_CACHE=str(tmp_path / "file"))
    assert folder == "None"
    assert "note: no cache of compiled programs" in notes and "Traceback" not in notes


def test_empty_files_of_a_power_cut_are_written_anew(tmp_path):
    folder, bits, _, _ = start(XDG_CACHE_HOME=str(tmp_path))
    programs = sorted(Path(folder).glob("*-cache"))
    for path in programs:
        path.write_bytes(b"")
    again = start(XDG_CACHE_HOME=str(tmp_path))
    assert again == (folder, bits, 0, "")
    assert programs and all(path.stat().st_size for path in programs)
