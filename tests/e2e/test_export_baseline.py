"""Exported lists of baselines are those of the run, also without this package."""

import ast
import json
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.exports import assert_same_lists, lists, make

import twotower_jax
from twotower_jax.errors import InputError
from twotower_jax.export import write
from twotower_jax.run.loader import load_data

KINDS = ("popularity", "item_knn", "ease", "ials")


@pytest.fixture(scope="module", params=KINDS)
def export(request, tmp_path_factory):
    """Return configuration, folder of the run and folder of its lists."""
    output = tmp_path_factory.mktemp("outputs")
    config, folder = make(output, f"towers.kind={request.param}")
    out = output / "lists"
    write.export_run(folder, out)
    return config, folder, out


def test_the_lists_are_those_of_the_run(export):
    config, folder, out = export
    served, expected = twotower_jax.load_model(out), lists(folder)
    users = expected["user"].unique(maintain_order=True)
    assert len(users) > 50 and expected["rank"].max() == 100
    assert_same_lists(served.recommend(users=users, k=100), expected)
    asked = [users[3], "nobody", users[3], users[0]]
    table = served.recommend(users=asked, k=4)
    assert table["user"].to_list() == [str(one) for one in asked for _ in range(4)]
    assert table["rank"].to_list() == [1, 2, 3, 4] * 4
    for place, user in ((0, users[3]), (8, users[3]), (12, users[0])):
        mine = expected.filter(pl.col("user") == user)["item"].head(4)
        assert table["item"][place : place + 4].to_list() == mine.to_list()
    data = load_data(config)
    most = np.argsort(-data.counts, kind="stable")[:4]
    assert table["item"][4:8].to_list() == data.log.item_ids.gather(most).to_list()
    assert table["score"][4:8].to_list() == data.counts[most].tolist()


def test_the_script_prints_them_with_polars_alone(export):
    _, folder, out = export
    tree = ast.parse((out / "serve.py").read_text())
    imported = {
        name
        for node in tree.body  # the others are imported where a model needs them
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
    }
    assert not {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    user = lists(folder)["user"][0]
    command = [sys.executable, str(out / "serve.py"), "--top", "3", "--user"]
    own, other = (
        subprocess.run([*command, name], capture_output=True, text=True, timeout=120)
        for name in (str(user), "nobody")
    )
    rows = [line.split("\t") for line in own.stdout.splitlines()]
    expected = lists(folder).filter(pl.col("user") == user).head(3)
    assert [row[1] for row in rows] == expected["item"].cast(pl.String).to_list()
    assert "unknown user 'nobody'" in other.stderr
    table = twotower_jax.load_model(out).recommend(users=["nobody"], k=3)
    items = [line.split("\t")[1] for line in other.stdout.splitlines()]
    assert items == table["item"].cast(pl.String).to_list()


def test_lists_of_a_run_that_recommends_seen_items(tmp_path):
    words = "towers.kind=buy_again", "data.mask_seen=false", "data.repeats=all"
    config, folder = make(tmp_path, *words)
    served = twotower_jax.load_model(folder)  # exports the run into its folder
    assert (folder / "model" / "serve.py").is_file()
    expected = lists(folder)
    users = expected["user"].unique(maintain_order=True)
    assert_same_lists(served.recommend(users=users, k=100), expected)
    data = load_data(config)
    train = data.split.train
    user = data.log.user_ids[int(train.user[0])]
    table = served.recommend(users=[user], k=1)
    bought = train.item[train.user == train.user[0]]
    assert table["item"][0] in data.log.item_ids.gather(np.unique(bought)).to_list()


def test_bad_input_names_the_remedy_and_writes_nothing(export, tmp_path, capsys):
    _, folder, out = export
    words = ("export", str(folder), "--out", str(tmp_path / "out"))
    assert tiny.command(*words, "--index", "faiss") == 2
    assert "--index faiss needs item vectors" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="k=101 is out of range; give 1 to 100"):
        twotower_jax.load_model(out).recommend(users=[1], k=101)
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 9}))
    with pytest.raises(InputError, match="has format_version 9"):
        twotower_jax.load_model(copy)
    shutil.copyfile(out / "manifest.json", copy / "manifest.json")
    (copy / "lists.parquet").write_bytes(b"changed")
    with pytest.raises(InputError, match="has another SHA-256"):
        twotower_jax.load_model(copy)
