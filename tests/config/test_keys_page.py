"""The tables of keys: one row per key, and files that are up to date."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from twotower_jax.config import Config, describe_keys, known_keys, to_dict
from twotower_jax.config.describe import value_text
from twotower_jax.run.checks import registered_names
from twotower_jax.sweeps.options import Options, option_rows

SCRIPT = Path(__file__).parents[2] / "docs" / "make_keys.py"


@pytest.fixture(scope="module")
def make_keys():
    spec = importlib.util.spec_from_file_location("make_keys", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_keys_is_up_to_date(make_keys):
    assert make_keys.PAGE.read_text() == make_keys.page()


def test_the_table_of_the_simulator_is_up_to_date(make_keys):
    text = make_keys.SIMULATOR.read_text()
    assert text == make_keys.simulator_page()
    assert text.count("| `zipf_exponent` | float | `1.0` | 0 to 5 |") == 1


def test_every_key_has_a_row_with_meaning_type_and_example():
    keys = known_keys()
    leaves = [key for key in keys if not any(k.startswith(f"{key}.") for k in keys)]
    rows = describe_keys()
    assert [row.key for row in rows] == leaves
    for row in rows:
        assert row.doc and row.type and row.example, row.key
        assert not set("\n|") & set(row.doc + row.example), row.key


def test_the_meaning_of_a_key_explains_null():
    for row in [*describe_keys(), *option_rows()]:
        if "null" in row.type:
            assert "null: " in row.doc, row.key


def test_every_default_is_in_the_table():
    values = to_dict(Config())
    rows = {row.key: row for row in describe_keys()}
    assert rows["towers.hidden"].default == "[]"
    assert rows["optimizer.eps"].default == "1.0e-08; adagrad 1.0e-07"
    for key in ("seed", "training.batch_size", "data.simulator.users"):
        value = values
        for part in key.split("."):
            value = value[part]
        assert rows[key].default == str(value)


def test_every_key_of_a_fixed_set_of_names_lists_them():
    rows = {row.key: row for row in describe_keys(registered_names())}
    for key, names in registered_names().items():
        assert rows[key].allowed == ", ".join(names)


def test_the_page_has_the_files_of_a_group_with_their_own_values(make_keys):
    rows = make_keys.PAGE.read_text().splitlines()
    (movielens,) = [row for row in rows if row.startswith("| `movielens` |")]
    for word in ("min_rating=4.0", "min_user_positives=5", "split=ratio"):
        assert f"`{word}`" in movielens
    assert "valid_share" not in movielens  # it has the default


CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("prefix", "file", "place"),
    [
        ("hydra.sweeper.", "hydra/sweeper/select.yaml", ()),
        ("hydra.launcher.", "hydra/launcher/fused.yaml", ()),
        (
            "hydra.callbacks.study.",
            "config.yaml",
            ("hydra", "callbacks", "study"),
        ),
    ],
)
def test_the_keys_of_sweeps_and_their_defaults_are_those_of_the_files(
    prefix, file, place
):
    values = yaml.safe_load((CONF / file).read_text())
    for part in place:
        values = values[part]
    values.pop("_target_")
    rows = [row for row in option_rows() if row.key.startswith(prefix)]
    defaults = {row.key.removeprefix(prefix): row.default for row in rows}
    assert defaults == {name: value_text(value) for name, value in values.items()}
    if prefix == "hydra.sweeper.":
        assert Options().arm_tune == values["arm_tune"]
