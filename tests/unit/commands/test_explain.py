"""``--help KEY``: keys, groups, ends of keys, and unknown names."""

from pathlib import Path

import pytest
import yaml
from helpers import tiny

from twotower_jax.commands.explain import all_rows, key_lines
from twotower_jax.config.options import all_options

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return a function that explains keys and returns its words and lines."""
    monkeypatch.setenv("COLUMNS", "1000")

    def explained(*words, status=0):
        assert tiny.command(*words) == status
        out, err = capsys.readouterr()
        return err if status else out

    return explained


def parts(text):
    """Return {label: text} of one explained key."""
    name, *lines = text.splitlines()
    found, label = {"key": name}, ""
    for line in lines:
        label = line[2:12].strip() or label
        found[label] = f"{found[label]}\n{line[12:]}" if label in found else line[12:]
    return found


@pytest.mark.parametrize("command", ["train", "advise", "audit"])
def test_a_key_is_explained(command, shown):
    found = parts(shown(command, "--help", "negatives.hard_ratio"))
    assert found["key"] == "negatives.hard_ratio"
    assert found["meaning"].startswith("probability that a slot is hard; null:")
    assert (found["type"], found["range"]) == ("float or null", "0 to 1")
    assert found["default"] == "null"
    words = "negatives=half_hard negatives.hard_ratio=0.25"
    assert found["example"] == f"twotower train {words}"
    assert found["page"] == "docs/reference-keys.md, section negatives"


def test_every_key_has_all_parts(shown):
    for row in all_rows():
        found = parts("\n".join(key_lines(row, all_options())))
        for label in ("meaning", "type", "range", "default", "example", "page"):
            assert found[label], row.key


@pytest.mark.parametrize(
    ("end", "key"),
    [
        ("items_path", "data.items_path"),
        ("fit_valid", "data.fit_valid"),
        ("mask_seen", "data.mask_seen"),
        ("test_path", "data.test_path"),
        ("candidate_features", "data.candidate_features"),
        ("tune_seeds", "hydra.sweeper.tune_seeds"),
        ("workers", "hydra.launcher.workers"),
        ("question", "hydra.callbacks.study.question"),
        ("minutes=", None),
        ("seed", "seed"),
    ],
)
def test_the_end_of_a_key_is_enough(end, key, shown):
    text = shown("train", "--help", end)
    if key is not None:
        assert parts(text)["key"] == key
    else:  # of the sweeper and of advise
        assert "hydra.sweeper.minutes" in text and "advise.minutes" in text


def test_the_files_that_set_a_key_are_listed_with_their_values(shown):
    text = parts(shown("train", "--help", "negatives.hard.num"))["set by"]
    found = {}
    for line in text.replace("\n  ", " ").splitlines():
        names, value = line.rsplit(": ", 1)
        group, names = names.split("=", 1)
        found |= {(group, name): int(value) for name in names.split(", ")}
    files = {
        path.stem: yaml.safe_load(path.read_text())
        for path in (CONF / "negatives").glob("*.yaml")
    }
    expected = {
        ("negatives", name): values["hard"]["num"]
        for name, values in files.items()
        if "hard" in values
    }
    assert len(expected) >= 4
    assert {pair: n for pair, n in found.items() if pair[0] == "negatives"} == expected
    assert found["arms", "half_hard"] == 4


def test_the_defaults_of_the_sources_are_listed(shown):
    text = parts(shown("train", "--help", "data.split"))["set by"]
    assert "data=movielens, recbole, table: ratio" in text.splitlines()


def test_the_names_of_a_registry_are_its_range(shown):
    found = parts(shown("train", "-h", "optimizer.name"))
    assert found["range"] == "adam, adagrad, adam_dense, sgd"


def test_a_group_has_a_line_per_key_and_per_file(shown):
    lines = shown("train", "--help", "negatives").splitlines()
    for key in (row.key for row in all_rows() if row.section.startswith("negatives")):
        assert sum(line.split()[:1] == [key] for line in lines) == 1
    for path in (CONF / "negatives").glob("*.yaml"):
        about = path.read_text().splitlines()[0].removeprefix("# ").split(".")[0]
        (line,) = [line for line in lines if line.split()[:1] == [path.stem]]
        assert about in line


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("data.columns", ["data.columns.rank", "null"]),
        ("hydra.sweeper", ["hydra.sweeper.rungs", "[]"]),
        ("hydra/sweeper", ["halving", "Selection"]),
        ("arms", ["plain/easy", "16"]),
        ("hydra", ["hydra.callbacks.study.margin", "null"]),
    ],
)
def test_sections_and_groups_are_listed(group, words, shown):
    lines = shown("audit", "--help", group).splitlines()
    assert words in [line.split()[:2] for line in lines]


def test_a_line_of_a_group_fits_the_terminal(shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    text = shown("train", "--help", "data.columns", "loss.temperature")
    for line in text.splitlines():
        assert len(line) <= 72 or line.startswith("  example"), line
    assert "data.columns.user" in text and "\n\nloss.temperature\n" in text


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("optimizer.lerning_rate", "did you mean optimizer.learning_rate"),
        ("itmes_path", "did you mean data.items_path"),
        ("negativs", "did you mean negatives"),
        ("sweeper.trails", "did you mean hydra.sweeper.trials"),
        ("xyzzy", "twotower train --help lists all keys"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_names(key, near, shown):
    text = shown("train", "--help", key, status=2)
    assert text.startswith(f"error: unknown key {key}; {near}")


@pytest.mark.slow
def test_help_with_an_override_is_left_to_hydra(shown):
    text = shown("train", "--help", "loss=bce")
    assert "== Config ==" in text and "name: bce" in text
    assert "twotower train --help KEY explains a key" in text
