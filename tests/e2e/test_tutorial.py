"""The tutorial: its blocks run in order, and end with 20 items."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
# Words of programs for which the environment of the tests has no scripts.
PROGRAMS = {"twotower": ["-m", "twotower_jax"], "python": []}


def lines(block: str) -> list[str]:
    """Return the command lines of a block, those that are continued as one."""
    return block.replace("\\\n", " ").splitlines()


@pytest.mark.slow
def test_the_tutorial_ends_with_twenty_items(tmp_path):
    """Run every block in an empty folder: commands in a shell, Python as scripts."""
    cache = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / ".cache")}
    outputs = []
    for number, (kind, block) in enumerate(BLOCKS):
        if kind == "python":
            (tmp_path / f"block_{number}.py").write_text(block)
        commands = [f"python block_{number}.py"] if kind == "python" else lines(block)
        for command in commands:
            program, _, rest = command.partition(" ")
            words = shlex.join([sys.executable, *PROGRAMS[program]])
            done = subprocess.run(
                ["bash", "-c", f"{words} {rest}"],
                cwd=tmp_path,
                env=cache,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            outputs.append(done.stdout)
    *_, by_user, by_history, by_python = outputs
    for out in (by_user, by_history):
        rows = [line.split("\t") for line in out.splitlines()]
        assert [row[0] for row in rows] == [str(rank) for rank in range(1, 21)]
        assert len({row[1] for row in rows}) == 20
    assert "shape: (20, 4)" in by_python
    advice = tiny.read_json(tmp_path / "outputs" / "advice" / "advice.json")
    assert "recall@20 on test" in advice["decision"][0]
    # Items of the taste of user 7, a tenth by chance.
    tastes = [int(line.split("\t")[1]) % 10 for line in by_user.splitlines()]
    assert tastes.count(7) > 4


def test_the_tutorial_names_every_step():
    text = [line for kind, block in BLOCKS if not kind for line in lines(block)]
    steps = [" ".join(line.split()[:2]) for line in text]
    assert steps == [
        *("twotower data", "twotower advise", "twotower train", "twotower export"),
        *("python model/serve.py", "python model/serve.py"),
    ]
