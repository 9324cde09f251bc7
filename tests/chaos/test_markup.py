"""Markup in the names and texts of a study: text in the report, never an element.

A page is parsed as HTML, and each figure file as XML; `test_markup_in_browser.py` opens
them in a browser.
"""

import numpy as np
import pytest
from helpers.chaos import campaign, trials
from helpers.markup import (
    Elements,
    assert_text_alone,
    hostile_texts,
    plain_study,
    study,
    tags,
)


@pytest.mark.slow
def test_markup_is_text(tmp_path):
    rng, done = np.random.default_rng(0), 0
    page = plain_study(tmp_path / "plain")
    ours = Elements(page.read_text(encoding="utf-8"))
    figures = {path.name: tags(path) for path in page.parent.glob("*.svg")}
    assert ours.kinds and figures
    with campaign("markup in reports") as counts:
        for number in range(trials(1_000)):
            names, texts = hostile_texts(rng)
            page = study(tmp_path / f"{number}{texts['folder']}", names, texts)
            found = Elements(page.read_text(encoding="utf-8"))
            assert_text_alone(found, ours, names, texts)
            for path in page.parent.glob("*.svg"):
                assert tags(path) <= figures[path.name], (path.name, names)
            done += 1
        counts |= {"trials": done}
    assert done
