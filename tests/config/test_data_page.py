"""docs/data.md: it lists every source and data set, and its commands compose."""

import re
import shlex
from pathlib import Path

import pytest

from twotower_jax.data.public.catalogue import CATALOGUE
from twotower_jax.data.sources import SOURCES
from twotower_jax.run.checks import check_names
from twotower_jax.sweeps.compose import compose_config

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("twotower ")
]
RUNS = [line for line in COMMANDS if "data fetch" not in line]


@pytest.mark.parametrize("line", RUNS)
def test_a_command_of_the_page_composes(line):
    words = shlex.split(line)[1:]
    words = words[2:] if words[0] == "data" else words[1:]
    # A file is not an override; tests/e2e/test_check_file.py runs `data check FILE`.
    words = [word for word in words if "=" in word]
    config = compose_config(words)
    check_names(config)
    assert config.data.source == "simulator" or config.data.path


def test_every_source_has_a_row_and_both_commands():
    table = re.findall(r"^\| \[`(\w+)`\]\(#([\w-]+)\)", PAGE, re.MULTILINE)
    assert {name for name, _ in table} == set(SOURCES)
    anchors = {
        re.sub(r"[^\w]+", "-", title.lower())
        for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    }
    assert {anchor for _, anchor in table} <= anchors
    for source in SOURCES:
        for verb in ("data check", "train"):
            assert any(f"twotower {verb} data={source}" in line for line in RUNS)


def test_every_data_set_of_the_catalogue_is_listed():
    listed = re.findall(
        r"^\| (`[^|]*`) \|", PAGE.split("## Simulator")[0], re.MULTILINE
    )
    names = {name for cell in listed for name in re.findall(r"`([\w-]+)`", cell)}
    assert set(CATALOGUE) <= names
    fetched = {
        words[3]
        for line in COMMANDS
        if len(words := line.split()) > 3 and "fetch" in line
    }
    assert fetched - {"#"} <= set(CATALOGUE)
