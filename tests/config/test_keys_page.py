"""The tables of keys: one row per key, and files that are up to date."""

import importlib.util
from pathlib import Path

import pytest

from twotower_jax.config import Config, describe_keys, known_keys, to_dict

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


def test_every_key_has_one_row_with_a_line_of_doc():
    keys = known_keys()
    leaves = [key for key in keys if not any(k.startswith(f"{key}.") for k in keys)]
    rows = describe_keys()
    assert [row.key for row in rows] == leaves
    for row in rows:
        assert row.doc and row.type and "\n" not in row.doc and "|" not in row.doc, row


def test_every_default_is_in_the_table():
    values = to_dict(Config())
    rows = {row.key: row for row in describe_keys()}
    assert rows["towers.hidden"].default == "[]"
    assert rows["optimizer.eps"].default == "1.0e-08"
    for key in ("seed", "training.batch_size", "data.simulator.users"):
        value = values
        for part in key.split("."):
            value = value[part]
        assert rows[key].default == str(value)


def test_every_key_of_a_fixed_set_of_names_lists_them(make_keys):
    rows = {row.key: row for row in describe_keys(make_keys.NAMES)}
    for key, names in make_keys.NAMES.items():
        assert rows[key].allowed == ", ".join(names)
