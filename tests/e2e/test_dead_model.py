"""A model that does not tell items apart is named, and not helped by popularity."""

import re

from helpers import tiny


def test_tied_scores_are_a_warning_and_no_result(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "towers.init_scale=1e20")
    assert tiny.command(*words) == 0
    text = " ".join(capsys.readouterr().out.split())
    found = re.search(r"test: the best items of (\d+)% of the queries have one", text)
    assert found is not None and int(found[1]) > 90
    (path,) = tmp_path.glob("*/*/result.json")
    result = tiny.read_json(path)
    assert result["tied"]["test"] > 0.9
    # 20 random ones of 300 items, less those seen before.
    assert result["metrics"]["test"]["recall@20"] < 0.1


def test_a_trained_model_has_no_ties(tmp_path):
    assert tiny.command("train", *tiny.SMALL, f"output={tmp_path}") == 0
    (path,) = tmp_path.glob("*/*/result.json")
    assert tiny.read_json(path)["tied"] == {}
