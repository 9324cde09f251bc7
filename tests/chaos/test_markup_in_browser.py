"""Markup in ids, arms, texts and names of folders: a browser runs and loads nothing.

Each payload would mark the page and ask for an address of this machine. Pages that hold
the payloads as they are must do so, or the test could not fail.
"""

import html

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.browser import PAYLOADS, PROGRAM, Browser, raw_page
from helpers.chaos import campaign, trials
from helpers.markup import (
    PIECES,
    assert_text_alone,
    file_name,
    hostile,
    hostile_texts,
    plain_study,
    study,
)

from twotower_jax.cards.card import Card
from twotower_jax.cards.store import find_cards
from twotower_jax.notebook.study import Study
from twotower_jax.report.canvas import write_drawing
from twotower_jax.report.objective import card_figure
from twotower_jax.run.folder import stored_config
from twotower_jax.sweeps.overrides import override

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome in PATH"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def nothing_asked(browser):
    browser.asked.clear()


def pieces(browser):
    """Return the payloads and, as often, the pieces of other campaigns."""
    return [*PIECES, *map(browser.payload, PAYLOADS)]


def marked(elements):
    """Return whether a payload has marked a page."""
    return any("ran" in kind for kind in elements.kinds)


def test_payloads_run_where_they_are_markup(browser, tmp_path):
    paths = [raw_page(tmp_path, browser, name) for name in PAYLOADS]
    frames = (f'<iframe src="{path.name}"></iframe>' for path in paths)
    (tmp_path / "all.html").write_text("".join(frames), encoding="utf-8")
    browser.open(tmp_path / "all.html", 5_000)
    assert browser.asked >= {*PAYLOADS}, {*PAYLOADS} - browser.asked
    for name in ("script", "ink"):  # a page and a figure
        assert marked(browser.open(raw_page(tmp_path, browser, name)))


def test_a_report_without_escapes_would_run_them(browser, tmp_path):
    _, texts = hostile_texts(np.random.default_rng(0), ["name"])
    texts["question"] = browser.payload("script")
    page = study(tmp_path / "study", ["a", "b", "c"], texts)
    assert not marked(browser.open(page)) and not browser.asked
    text = html.unescape(page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
    assert marked(browser.open(page)) and browser.asked == {"script"}


def test_nothing_runs_in_reports_and_figures(browser, tmp_path):
    rng, done, drawn = np.random.default_rng(0), 0, 0
    page = plain_study(tmp_path / "plain")
    ours = browser.open(page)
    figures = {path.name: browser.open(path) for path in page.parent.glob("*.svg")}
    assert figures
    with campaign("markup in a browser") as counts:
        for number in range(trials(200)):
            names, texts = hostile_texts(rng, pieces(browser))
            page = study(tmp_path / f"{number}{texts['folder']}", names, texts)
            assert_text_alone(browser.open(page), ours, names, texts)
            # All figures are in the page too; some are opened as files.
            for name in rng.choice(sorted(figures), 2, replace=False):
                found = browser.open(page.parent / name)
                assert found.kinds <= figures[name].kinds, (name, names)
                drawn += 1
            assert not browser.asked, (names, texts)
            done += 1
        counts |= {"trials": done, "figures": drawn}


def table(path, ids, columns):
    """Write a log with these ids of users and items and these names of columns."""
    rng = np.random.default_rng(0)
    users = [f"{ids[one]}{one}" for one in rng.integers(60, size=3_000)]
    items = [f"{ids[one]}{one}" for one in rng.integers(100, size=3_000)]
    values = (users, items, range(3_000))
    pl.DataFrame(dict(zip(columns, values, strict=True))).write_parquet(path)
    return path


def swept(output, log, columns, arms):
    """Run a baseline and factors on a log as arms of these names; their report."""
    words = [*tiny.SMALL, "data=table", override("data.path", str(log))]
    roles = ("user", "item", "time")
    for role, column in zip(roles, columns, strict=True):
        words.append(override(f"data.columns.{role}", column))
    words += [f"output={output}", "name=s", "seed=0,1,2", "training.steps=4"]
    for towers, arm in zip(("popularity", "factors"), arms, strict=True):
        more = (f"towers={towers}", override("arm", arm))
        assert tiny.command("train", "-m", *words, *more) == 0
    return output / "s" / "report.html"


def other_pages(page, arm):
    """Write what a notebook shows of a study and the figure of an audit; the paths."""
    shown, figure = page.with_name("shown.html"), page.with_name("audit.svg")
    text = Study(page.parent)._repr_html_()
    shown.write_text(f"<!DOCTYPE html><title>x</title>{text}", encoding="utf-8")
    (card,) = find_cards({arm: stored_config(trained(page))}, page.parent).values()
    assert isinstance(card, Card)
    return [shown, write_drawing(card_figure(arm, card), figure)]


def trained(page):
    """Return the folder of a run that has steps."""
    paths = page.parent.glob("*/result.json")
    return next(path.parent for path in paths if tiny.read_json(path)["steps"])


def test_nothing_runs_in_the_report_of_a_log(browser, tmp_path, capsys):
    rng, done, drawn = np.random.default_rng(1), 0, 0
    plain = ("user", "item", "time")
    log = table(tmp_path / "log.parquet", ["id"] * 100, plain)
    page = swept(tmp_path / "plain", log, plain, ["a", "b"])
    paths = [page, *other_pages(page, "b"), *page.parent.glob("figure_*.svg")]
    ours = {path.name: browser.open(path) for path in paths}
    with campaign("markup in a log, in a browser") as counts:
        for number in range(trials(40)):
            ids = [hostile(rng, pieces(browser)) for _ in range(100)]
            columns = [f"{i} {on_a_line(one)}" for i, one in enumerate(ids[:3])]
            arms = [f"{i} {on_a_line(one)}" for i, one in enumerate(ids[3:5])]
            name = file_name(on_a_line(ids[5]))
            log = table(tmp_path / f"{number} {name}.parquet", ids, columns)
            page = swept(tmp_path / f"out{number}", log, columns, arms)
            shown, *figures = other_pages(page, arms[1])
            for path in (page, shown):
                assert_text_alone(browser.open(path), ours[path.name], arms, {})
            for path in (*figures, *page.parent.glob("figure_*.svg")):
                assert browser.open(path).kinds <= ours[path.name].kinds, arms
                drawn += 1
            assert not browser.asked, ids[:6]
            done += 1
        counts |= {"trials": done, "figures": drawn}
    assert done


def on_a_line(text):
    """Return the characters of a text that a word of a command takes as they are."""
    return "".join(one for one in text if one.isprintable() and one not in "$\\")
