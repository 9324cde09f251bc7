"""The ranking metrics against ranx and ir-measures, see make_other_golden.py."""

import csv
import importlib.util
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder
from twotower_jax.run.rank import words

HERE = Path(__file__).parent
MAKE = runpy.run_path(str(HERE / "make_other_golden.py"))
LIBRARIES = {
    "ranx": ("ranx", "by_ranx"),
    "ir-measures": ("ir_measures", "by_ir_measures"),
}
NAMES = ("recall", "ndcg", "mrr", "hit_rate")


@pytest.mark.parametrize("library", LIBRARIES)
def test_equals_the_values_of_another_library(library):
    scores, qrels = MAKE["tables"]()
    queries = list(qrels)
    lists = [sorted(scores[one], key=scores[one].__getitem__) for one in queries]
    items = np.array([[int(item) for item in reversed(one)] for one in lists])
    pairs = [(row, int(i)) for row, one in enumerate(queries) for i in qrels[one]]
    positives = from_pairs(*np.array(pairs).T, len(queries))
    ours = ranking_metrics(items, positives, MAKE["CUTOFFS"])
    with open(HERE / "values_others.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["library"] == library]
    assert len(rows) == len(queries) * len(NAMES) * len(MAKE["CUTOFFS"])
    for row in rows:
        mine = ours[row["measure"]][queries.index(row["query"])]
        assert mine == pytest.approx(float(row["value"]), abs=1e-6), row


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run with equal scores, short lists and blanks in ids."""
    folder = tmp_path_factory.mktemp("trec")
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 60, 1500), rng.zipf(1.3, 1500) % 90
    log = {"user": [f"u {u}%" for u in users], "item": [f"i\t{i}" for i in items]}
    pl.DataFrame(log).write_parquet(folder / "log.parquet")
    config = tiny.make_config(
        folder,
        *("data=table", f"data.path={folder / 'log.parquet'}", "data.split=ratio"),
        *("towers.kind=popularity", "evaluation.save_topk=true"),
        "evaluation.k=[10,80]",
        "training.metric=recall@10",
    )
    run(config)
    return run_folder(config)


def read(path):
    """Return the fields of every line."""
    return [line.split(" ") for line in path.read_text().splitlines()]


def test_the_lists_as_a_trec_run(finished):
    top = pl.read_parquet(finished / "topk.parquet")
    lines = read(finished / "topk.trec")
    assert len(lines) == len(top) and {len(line) for line in lines} == {6}
    user, q0, item, rank, score, tag = zip(*lines, strict=True)
    assert list(user) == [f"u%20{u[2:-1]}%25" for u in top["user"]]
    assert list(item) == [f"i%09{i[2:]}" for i in top["item"]]
    assert list(map(int, rank)) == top["rank"].to_list()
    assert set(q0) == {"Q0"} and set(tag) == {"twotower-jax"}
    scores = np.array(score, np.float32)
    np.testing.assert_allclose(scores, top["score"], rtol=1e-5, atol=1e-6)
    # Each list falls strictly, though popularity has many equal scores.
    same = np.array(user[1:]) == np.array(user[:-1])
    assert (np.diff(scores)[same] < 0).all()
    assert (np.diff(top["score"].to_numpy())[same] == 0).any()


def test_words_stay_different():
    ids = pl.Series(["a b", "a%20b", "a\u00a0b", "ab", "é"])
    made = words(ids).to_list()
    assert len(set(made)) == 5 and made[3:] == ["ab", "é"]
    assert not any(set(" \t\u00a0") & set(one) for one in made)
    assert words(pl.Series([3, -1])).to_list() == ["3", "-1"]


def metrics_of(finished, compute):
    """Return (user, measure, value) rows that a function computes from both files."""
    scores, qrels = {}, {}
    for user, _, item, _, score, _ in read(finished / "topk.trec"):
        scores.setdefault(user, {})[item] = float(score)
    for user, _, item, relevance in read(finished / "qrels.trec"):
        qrels.setdefault(user, {})[item] = int(relevance)
    return compute(scores, qrels, (10, 80))


def check_metrics(finished, rows):
    queries = pl.read_parquet(finished / "queries.parquet")
    place = {user: row for row, user in enumerate(words(queries["user"]))}
    assert len(rows) == 2 * len(NAMES) * len(queries)
    for _, user, measure, value in rows:
        ours = queries[measure][place[user]]
        assert ours == pytest.approx(value, abs=1e-6), (user, measure)


def by_hand(scores, qrels, cutoffs):
    """Return the four metrics, one query at a time."""
    rows = []
    for user, items in qrels.items():
        best = sorted(scores[user], key=scores[user].__getitem__, reverse=True)
        for k in cutoffs:
            hits = [item in items for item in best[:k]]
            gains = [1 / np.log2(place + 2) for place in range(k)]
            found = [place for place, hit in enumerate(hits) if hit]
            values = (
                sum(hits) / len(items),
                sum(gains[p] for p in found) / sum(gains[: len(items)]),
                1 / (found[0] + 1) if found else 0.0,
                float(any(hits)),
            )
            rows += [
                ("", user, f"{name}@{k}", value)
                for name, value in zip(NAMES, values, strict=True)
            ]
    return rows


def test_the_files_give_the_metrics_of_the_run(finished):
    check_metrics(finished, metrics_of(finished, by_hand))


# Numba, which compiles ranx, warns of casts within it.
@pytest.mark.filterwarnings("ignore:unsafe cast")
@pytest.mark.parametrize("library", LIBRARIES)
def test_another_library_reads_the_files(finished, library):
    module, function = LIBRARIES[library]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{library} is not installed: pip install {library}")
    check_metrics(finished, metrics_of(finished, MAKE[function]))
