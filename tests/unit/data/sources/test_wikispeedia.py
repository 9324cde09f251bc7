"""Wikispeedia on a small folder written here, and on the real one."""

import numpy as np
import pytest
from helpers.realdata import data_folder

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources import load
from twotower_jax.errors import InputError

DROPPED = "clicks on pages that are not linked"
ARTICLES = "# names\n\nA\nB%C3%A9\nC\nD\nE\n"
# A links to Bé, C and D (one twice); Bé to C; C to A and D.
LINKS = "# links\n\nA\tB%C3%A9\nA\tC\nA\tD\nA\tD\nB%C3%A9\tC\nC\tA\nC\tD\n"
CATEGORIES = (
    "# categories\n\nA\tsubject.Science.Biology\nA\tsubject.Science.Physics\n"
    "C\tsubject.People\n"
)
UNFINISHED = (
    "# paths\n\n"
    "player1\t100\t9\tA;B%C3%A9;<;C\tE\ttimeout\n"
    "player2\t200\t9\tC\tA\trestart\n"
    "player2\t300\t9\tB%C3%A9;C\tnonsense\trestart\n"
    "player3\t400\t9\tA;E\tC\trestart\n"
)


def folder(path, **files):
    texts = {
        "articles": ARTICLES,
        "links": LINKS,
        "categories": CATEGORIES,
        "paths_unfinished": UNFINISHED,
    }
    for name, text in (texts | files).items():
        if text is not None:
            (path / f"{name}.tsv").write_text(text)
    return DataConfig(source="wikispeedia", path=str(path))


def rows(log):
    """Return (request, user id, item id, stage) of every row."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    return [
        (int(request), users[user], items[item], Stage(stage).name)
        for request, user, item, stage in zip(
            log.request, log.user, log.item, log.stage, strict=True
        )
    ]


def test_clicks_and_the_links_that_were_not_clicked(tmp_path):
    log = load(folder(tmp_path))
    assert rows(log) == [
        (0, "A -> E", "Bé", "CLICKED"),
        (0, "A -> E", "C", "EXPOSED"),
        (0, "A -> E", "D", "EXPOSED"),
        # after the back click the player is on A again
        (1, "A -> E", "C", "CLICKED"),
        (1, "A -> E", "Bé", "EXPOSED"),
        (1, "A -> E", "D", "EXPOSED"),
        (2, "Bé -> nonsense", "C", "CLICKED"),
    ]
    assert log.time.tolist() == [100] * 6 + [300]
    # player3 went from A to E, which A does not link: never shown, so not a positive
    assert log.part is None and log.dropped == {DROPPED: 1}


def test_the_catalogue_is_every_article(tmp_path):
    log = load(folder(tmp_path))
    assert log.item_ids.to_list() == ["Bé", "C", "D", "A", "E"]


def test_features(tmp_path):
    log = load(folder(tmp_path))
    current, target = log.user_features["current"], log.user_features["target"]
    # codes of both are places in the list of articles: A Bé C D E
    assert (current.kind, current.values.tolist(), current.size) == (
        "categorical",
        [0, 1],
        5,
    )
    assert (target.values.tolist(), target.size) == ([4, -1], 5)
    category = log.item_features["category"]
    # items Bé, C, D, A, E; codes: subject.People, .Science, .Biology, .Physics
    assert category.kind == "multi" and category.size == 4
    assert category.values.tolist() == [
        [-1, -1, -1],
        [0, -1, -1],
        [-1, -1, -1],
        [1, 2, 3],
        [-1, -1, -1],
    ]


def test_a_finished_path_ends_with_its_target(tmp_path):
    finished = "# paths\n\np\t50\t9\tC;A;C;<;<;D\tNULL\n"
    log = load(folder(tmp_path, paths_unfinished=None, paths_finished=finished))
    positives = [row[1:3] for row in rows(log) if row[3] == "CLICKED"]
    # C -> A, A -> C, back to A, back to C, C -> D: the target is D
    assert positives == [("C -> D", "A"), ("A -> D", "C"), ("C -> D", "D")]


def test_both_files_are_read(tmp_path):
    finished = "p\t50\t9\tC;D\t3\n"
    log = load(folder(tmp_path, paths_finished=finished))
    assert (log.stage == Stage.CLICKED).sum() == 4
    assert log.time[log.request == 3].tolist() == [50, 50]


def test_a_back_click_on_the_first_page_stays_there(tmp_path):
    text = "p\t1\t9\tA;<;<;D\tE\ttimeout\n"
    log = load(folder(tmp_path, paths_unfinished=text))
    assert rows(log)[0] == (0, "A -> E", "D", "CLICKED")


BAD = {
    "no articles": (
        {"articles": None},
        "holds no file 'articles.tsv'; give the folder",
    ),
    "no links": ({"links": None}, "holds no file 'links.tsv'"),
    "no categories": ({"categories": None}, "holds no file 'categories.tsv'"),
    "no paths": ({"paths_unfinished": None}, "holds no file 'paths_unfinished.tsv'"),
    "empty": ({"links": ""}, "links.tsv: is empty"),
    "fields": (
        {"links": "# x\nA\tC\nA C\n"},
        "links.tsv: line 3 has 1 fields separated by tabs instead of 2",
    ),
    "path fields": (
        {"paths_unfinished": "p\t1\t9\tA;C\tE\n"},
        "paths_unfinished.tsv: line 1 has 5 fields separated by tabs instead of 6",
    ),
    "time": (
        {"paths_unfinished": "# x\np\tnow\t9\tA;C\tE\ttimeout\n"},
        "paths_unfinished.tsv: line 2: 'now' is not a time; give seconds",
    ),
    "path": (
        {"paths_unfinished": "p\t1\t9\t<;C\tE\ttimeout\n"},
        "line 1: the path '<;C' does not begin with a page",
    ),
    "no clicks": (
        {"paths_unfinished": "p\t1\t9\tA\tE\ttimeout\n"},
        "paths_unfinished.tsv: holds no click",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_named(tmp_path, name):
    files, message = BAD[name]
    with pytest.raises(InputError, match=message):
        load(folder(tmp_path, **files))


@pytest.mark.realdata
def test_real_wikispeedia():
    path = data_folder("wikispeedia")
    log = load(DataConfig(source="wikispeedia", path=str(path)))
    clicked = log.stage == Stage.CLICKED
    assert clicked.sum() == 91_413 and log.dropped == {DROPPED: 100}
    assert (~clicked).sum() == 5_472_165
    assert log.num_items == 4_604
    assert "Édouard_Manet" in log.item_ids.to_list()
    # one click per request, the first row
    np.testing.assert_array_equal(log.request[clicked], np.arange(91_413))
    assert clicked[np.flatnonzero(np.diff(log.request, prepend=-1))].all()
    assert (log.user_features["current"].values >= 0).all()
