"""Pages of results: an answer, a figure, a narrow table, a command that composes."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from twotower_jax.sweeps.compose import compose_configs

DOCS = Path(__file__).parents[2] / "docs"
QUESTIONS = [
    path
    for path in sorted((DOCS / "results").glob("*.md"))
    if path.stem not in ("index", "lecture", "claims", "papers", "studies")
]


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(DOCS))
    from figures import board, questions

    sys.path.remove(str(DOCS))
    return questions.values(), board.values()


@pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)
def test_a_question_has_its_answer_figure_table_and_command(page, tables):
    text = page.read_text(encoding="utf-8")
    title, answer, *_ = text.split("\n\n")
    assert title.startswith("# ") and title.endswith("?")
    assert re.match(r"\*\*[^*]+\*\*", answer) and answer.count(". ") <= 2
    assert text.count("](../figures/questions-") == 1
    assert "**What would change our mind.**" in text
    (key,) = re.findall(r"<!-- computed: questions\.(\w+) -->", text)
    heading = tables[0][key].splitlines()[0]
    assert heading.count("|") - 1 <= 6
    (command,) = re.findall(r"```\n(twotower train.*?)```", text, re.DOTALL)
    words = shlex.split(command)[2:]
    assert compose_configs([w for w in words if w != "-m" and "hydra" not in w])


def test_every_question_is_listed_with_its_answer():
    index = (DOCS / "results" / "index.md").read_text(encoding="utf-8")
    for page in QUESTIONS:
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"({page.name})" in index and title[:22] in index


def test_the_board_has_every_published_cell(tables):
    folders = (DOCS.parent / "experiments" / "papers").glob("*/cells.csv")
    cells = sum(len(path.read_text().splitlines()) - 1 for path in folders)
    assert int(tables[1]["tried"]) == cells
    assert tables[1]["table"].count("<tr>") == cells + 1
    assert 0 < int(tables[1]["reproduced"]) < cells
