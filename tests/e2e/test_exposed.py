"""Training on shown, not clicked items: links of Wikispeedia, impressions of MIND."""

import json

import pytest
from helpers import tiny
from helpers.funnels import pools_of

from twotower_jax.data import sources
from twotower_jax.data.split import split

PAGES = 40
HARD = (
    "negatives=hard",
    "negatives.hard.stages=[exposed]",
    "negatives.allow_exposed=true",
)
SMALL = (
    "towers.dim=16",
    "towers.query=[id]",
    "towers.candidate=[id]",
    "training.batch_size=64",
    "training.steps=100",
    "training.eval_every=100",
    "optimizer.learning_rate=0.5",
    "evaluation.k=[1,5]",
    "training.metric=recall@1",
)


def wikispeedia(folder):
    """Page i links to the five after it, and every player clicks on the next page."""
    pages = [f"P{i}" for i in range(PAGES)]
    links = [f"P{i}\tP{(i + j) % PAGES}" for i in range(PAGES) for j in range(1, 6)]
    games = [
        f"player\t{time}\t9\tP{time % PAGES};P{(time + 1) % PAGES}\tP0\ttimeout"
        for time in range(1_000)
    ]
    categories = [f"P{i}\tsubject.S{i % 4}" for i in range(PAGES)]
    for name, lines in (
        ("articles", pages),
        ("links", links),
        ("categories", categories),
        ("paths_unfinished", games),
    ):
        (folder / f"{name}.tsv").write_text("# comment\n\n" + "\n".join(lines) + "\n")
    return ["data=wikispeedia", f"data.path={folder}", "towers.query=[current]"]


def mind(folder):
    """User i % 40 is shown the five news after i, and clicks on the first."""
    news = "".join(f"N{i}\tcat\tsub{i % 4}\tT\tA\tu\t[]\t[]\n" for i in range(PAGES))
    days = {"MINDsmall_train": range(9, 15), "MINDsmall_dev": range(15, 16)}
    for part, dates in days.items():
        (folder / part).mkdir()
        (folder / part / "news.tsv").write_text(news)
        lines = [
            f"{i}\tU{i}\t11/{day}/2019 9:05:58 AM\t\t"
            + " ".join(f"N{(i + j) % PAGES}-{int(j == 1)}" for j in range(1, 6))
            for day in dates
            for i in range(PAGES)
        ]
        (folder / part / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    return ["data=mind", f"data.path={folder}", "data.mask_seen=false"]


@pytest.mark.slow
@pytest.mark.parametrize("write", [wikispeedia, mind])
def test_training_against_shown_items(tmp_path, write, capsys):
    words = write(tmp_path)
    config = tiny.compose_config([*words, *HARD, *SMALL])
    log = sources.load(config.data)
    parts = split(log, config.data)
    # The pool of a click: the four others of its page, and of no other page.
    pools, report = pools_of(log, parts, stages=(("exposed", 0, None),))
    assert report["training positives without a pool"] == 0
    ids = log.item_ids.to_list()
    number = [int(name[1:]) for name in ids]
    for row, pool in zip(parts.train.item, pools.of_row, strict=True):
        others = {number[item] for item in pools.item[pool] if item < len(ids)}
        assert others == {(number[row] + j) % PAGES for j in range(1, 5)}
    out = tmp_path / "out"
    assert tiny.command("train", *words, *HARD, *SMALL, f"output={out}") == 0
    (path,) = out.glob("*/*/result.json")
    recall = json.loads(path.read_text())["metrics"]["test"]["recall@1"]
    # One of forty by chance, one of five by the page alone.
    assert recall > 0.9
    capsys.readouterr()
    refused = tiny.command("train", *words, *HARD[:2], *SMALL, f"output={out}")
    assert refused == 2
    assert "negatives.allow_exposed=true" in capsys.readouterr().err
