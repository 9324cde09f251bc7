"""A reader of the output that ends early, such as ``head``."""

import os
import subprocess
import sys


def test_a_command_ends_quietly_with_the_reader_of_its_output():
    read, write = os.pipe()
    os.close(read)
    words = ["-m", "twotower_jax", "train", "--help", "loss"]
    done = subprocess.run(
        [sys.executable, *words], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
