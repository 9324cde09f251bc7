"""Training on prepared data: the bits of training on the files they were made from."""

import errno
import shlex

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.data.prepared import made
from twotower_jax.run import problem as stored_pools

WORDS = (
    "towers.dim=8",
    "optimizer=adagrad",
    "training.batch_size=64",
    "training.steps=30",
    "training.eval_every=15",
    "evaluation.k=[10,20]",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A funnel with times, requests and weights, as a file."""
    rng, number = np.random.default_rng(0), 6000
    user = rng.integers(0, 80, number)
    item = (rng.random(number) ** 2 * 120).astype(int)
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    pl.DataFrame(
        {
            "user": user,
            "item": item,
            "time": 1_600_000_000 + np.arange(number) * 60,
            "stage": rng.choice(["ranked", "exposed", "clicked"], number),
            "request": np.arange(number) // 10,
            "grade": 0.5 + rng.random(number),
            "shop": item % 7,
        }
    ).write_parquet(path)
    return path


def table(log):
    columns = ("time", "stage", "request")
    words = [f"data.columns.{name}={name}" for name in columns]
    feature = "data.candidate_features={shop:categorical}"
    return ["data=table", f"data.path={log}", *words, feature, "data.split=temporal"]


@pytest.fixture(scope="module")
def folder(log, tmp_path_factory):
    """The log, prepared."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    words = [*table(log), "positives.weight=grade", "--out", str(out)]
    assert tiny.command("data", "prepare", *words) == 0
    return out


def metrics(output, *words):
    """Train, and return all metrics and the losses."""
    assert tiny.command("train", *words, *WORDS, f"output={output}") == 0
    (run,) = output.glob("*/*/result.json")
    lines = (run.parent / "metrics.jsonl").read_text().splitlines()
    losses = [tiny.json.loads(line)["loss"] for line in lines]
    return tiny.read_json(run)["metrics"], losses


KINDS = {
    "hard": (
        *("negatives=half_hard", "negatives.hard.pool=request"),
        "negatives.hard.stages=[ranked]",
    ),
    "histories": ("towers.query=[id,history]",),
    "available": ("negatives.available=true", "negatives.easy.num=32"),
    "weights": ("positives.weight=grade",),
    "resampled": ("positives=power", "positives.exponent=0.5"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_the_table(kind, log, folder, tmp_path):
    right = metrics(tmp_path / "table", *table(log), *KINDS[kind])
    prepared = ["data=prepared", f"data.path={folder}", *KINDS[kind]]
    assert metrics(tmp_path / "prepared", *prepared) == right
    assert metrics(tmp_path / "host", *prepared, "training.feed=host") == right


@pytest.mark.slow
def test_the_order_of_blocks_has_the_same_bits_from_both(folder, tmp_path):
    words = ["data=prepared", f"data.path={folder}", "training.order=blocks"]
    device = metrics(tmp_path / "device", *words)
    assert metrics(tmp_path / "host", *words, "training.feed=host") == device
    shuffled = metrics(tmp_path / "shuffled", *words[:2])
    assert shuffled[1] != device[1]


def test_resampling_is_refused_with_blocks(folder, tmp_path, capsys):
    words = ["data=prepared", f"data.path={folder}", "training.order=blocks"]
    words += ["positives=power", *WORDS, f"output={tmp_path}"]
    assert tiny.command("train", *words) == 2
    assert "training.order=blocks reads every positive once" in capsys.readouterr().err


def test_an_advice_asks_for_the_log(folder, tmp_path, capsys):
    words = ["advise", "data=prepared", f"data.path={folder}", f"output={tmp_path}"]
    assert tiny.command(*words) == 2
    assert "data=prepared is split already" in capsys.readouterr().err


def test_the_command_it_prints_trains(log, tmp_path, capsys):
    out = tmp_path / "a folder"
    assert tiny.command("data", "prepare", *table(log), f"--out={out}") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"twotower train data=prepared 'data.path={out}'"
    assert "80 users, 120 items, 6,000 rows" in printed[-3]
    words = ["data=prepared", f"data.path={out}", *WORDS, f"output={tmp_path / 'o'}"]
    assert tiny.command("train", *words) == 0


HARD = ("negatives=hard", "negatives.hard.stages=[ranked]")


def test_pools_of_hard_negatives_are_prepared_with_the_log(
    log, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    words = [*table(log), *HARD, "data.test_share=0", f"--out={out}"]
    assert tiny.command("data", "prepare", *words) == 0
    *_, pools, command = capsys.readouterr().out.splitlines()
    assert "for negatives.hard.stages=[ranked], pool=request, pool_size=64" in pools
    assert "'negatives.hard.stages=[ranked]'" in command

    def never(*arguments):
        raise AssertionError("the training only reads them")

    monkeypatch.setattr(stored_pools, "make_pools", never)
    words = [*shlex.split(command)[2:], *WORDS, f"output={tmp_path / 'outputs'}"]
    assert tiny.command("train", *words) == 0


def test_pools_that_do_not_fit_are_refused_and_the_log_stays_prepared(
    log, tmp_path, capsys, monkeypatch
):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    words = ["data", "prepare", *table(log), f"--out={tmp_path / 'out'}"]
    with monkeypatch.context() as disk:
        disk.setattr(made, "new_map", full)
        assert tiny.command(*words, *HARD) == 2
    assert "the pools of negatives.hard could not be written; free" in (
        capsys.readouterr().err
    )
    assert tiny.command(*words) == 0
    assert "rows read" not in capsys.readouterr().out


def test_evaluate_and_data_check_read_it(folder, tmp_path, capsys):
    words = ["data=prepared", f"data.path={folder}"]
    found, _ = metrics(tmp_path, *words)
    (run,) = tmp_path.glob("*/*/")
    capsys.readouterr()
    assert tiny.command("evaluate", str(run)) == 0
    assert f"{found['test']['recall@20']:.4f}" in capsys.readouterr().out
    assert tiny.command("data", "check", *words) == 0
    assert "6,000" in capsys.readouterr().out


@pytest.mark.slow
def test_data_without_a_test_part_ask_for_evaluation_on_valid(log, tmp_path, capsys):
    out = tmp_path / "out"
    words = [*table(log), "data.test_share=0", f"--out={out}"]
    assert tiny.command("data", "prepare", *words) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("evaluation.test=false")
    train = ["train", "data=prepared", f"data.path={out}", *WORDS]
    train.append(f"output={tmp_path / 'outputs'}")
    assert tiny.command(*train) == 2
    assert "was prepared without a test part; set evaluation.test=false" in (
        capsys.readouterr().err
    )
    assert tiny.command(*train, "evaluation.test=false") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=table", "data.path=no.csv", "--out=x"], "data.path='no.csv' does not"),
        (["data=prepared", "data.path=x", "--out=y"], "data=prepared is prepared"),
        (["data=table", "data.pth=x", "--out=y"], "data.pth"),
        (["data=table", "--out=y"], "data.path is not set"),
    ],
)
def test_wrong_words(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tiny.command("data", "prepare", *words) == 2
    assert message in capsys.readouterr().err
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]
