"""Source table: records in cells are read by the names of their fields."""

import polars as pl
import pytest
from helpers.csv_tables import table

from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.sources import load
from twotower_jax.data.sources.batches import batches
from twotower_jax.data.sources.files import read_table
from twotower_jax.data.sources.layout import Layout
from twotower_jax.errors import InputError

ENDINGS = ("jsonl", "parquet", "feather")
EVENTS = ("view_item_list", "select_item", "purchase")
NAMES = {"user": "who.id", "item": "items.sku", "clicked": "event", "time": "at"}


def events(number=60):
    """Return events of a shop, each with a list of items."""
    rows = []
    for i in range(number):
        kind = EVENTS[i % 3]
        skus = [f"s{(i + j) % 11}" for j in range(4 if kind == EVENTS[0] else 1)]
        items = [{"sku": sku, "price": {"net": 1.5}} for sku in skus]
        who = {"id": f"u{i % 7}", "device": "web"}
        at = 1_700_000_000 + i
        rows.append({"event": kind, "who": who, "at": at, "items": items})
    return pl.DataFrame(rows)


def written(frame, folder, ending):
    path = folder / f"log.{ending}"
    write = {"jsonl": frame.write_ndjson, "parquet": frame.write_parquet}
    write.get(ending, frame.write_ipc)(path)
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_field_is_a_column_and_one_of_a_list_is_a_list(ending, tmp_path):
    path = written(events(), tmp_path, ending)
    found = read_table(path)
    names = ["event", "who.id", "who.device", "at", "items.sku", "items.price.net"]
    assert found.columns == names
    assert found["items.sku"].to_list()[:2] == [["s0", "s1", "s2", "s3"], ["s1"]]
    assert found["items.price.net"].to_list()[1] == [1.5]
    some = read_table(path, keep=["items.sku", "event"])
    assert some.equals(found.select("event", "items.sku"))
    parts = list(batches(path, Layout(), ["items.sku", "event"], 7))
    assert max(map(len, parts)) <= 7 and pl.concat(parts).equals(some)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_event_is_that_of_all_items_of_its_row(ending, tmp_path):
    path = written(events(), tmp_path, ending)
    log = load(table(str(path), NAMES, clicked_values=EVENTS[1:]))
    assert len(log.stage) == 20 * (4 + 1 + 1)
    assert log.stage.tolist()[:6] == [4, 4, 4, 4, 5, 5]
    assert log.request.tolist()[:6] == [0, 0, 0, 0, 1, 2]
    first = [log.item_ids[int(code)] for code in log.item[:6]]
    assert first == ["s0", "s1", "s2", "s3", "s1", "s2"]


def test_the_roles_of_fields_are_guessed_from_their_names(tmp_path):
    path = written(events(), tmp_path, "jsonl")
    guess = guess_log(path, {}, {})
    names = {role: column.name for role, column in guess.columns.items()}
    assert names == NAMES
    assert set(guess.keys["clicked_values"]) == set(EVENTS[1:])
    bought = written(events().filter(pl.col("event") == EVENTS[2]), tmp_path, "jsonl")
    assert "clicked" not in guess_log(bought, {}, {}).columns


def test_missing_records_have_missing_fields(tmp_path):
    rows = [{"u": 1, "p": {"id": 7}}, {"u": 2, "p": None}]
    frame = pl.DataFrame(rows, schema_overrides={"p": pl.Struct({"id": pl.Int64})})
    path = written(frame, tmp_path, "parquet")
    with pytest.raises(InputError, match=r"row 2, column 'p.id'"):
        load(table(str(path), {"user": "u", "item": "p.id"}))


@pytest.mark.parametrize(
    "columns, values, message",
    [
        (
            NAMES | {"item": "items.skus"},
            EVENTS[1:],
            r"no column 'items.skus' .*columns are: event, who.id.* 'items.sku'\?",
        ),
        (NAMES, ("bought",), "values are: view_item_list, select_item, purchase"),
        (
            NAMES | {"clicked": "items.price.net"},
            ("1.5",),
            r"data.columns.clicked=items.price.net holds lists, and .*'1.5'.*leave",
        ),
    ],
)
def test_wrong_names_of_fields_and_events_are_refused(
    columns, values, message, tmp_path
):
    path = written(events(), tmp_path, "jsonl")
    with pytest.raises(InputError, match=message):
        load(table(str(path), columns, clicked_values=values))


def test_a_field_with_the_name_of_a_column_is_refused(tmp_path):
    frame = pl.DataFrame({"a": [{"b": 1}], "a.b": [2], "item": [3]})
    path = written(frame, tmp_path, "parquet")
    with pytest.raises(InputError, match="two columns are named '.+'; rename one"):
        read_table(path)
