"""Source table: cells that list items, and requests that are missing."""

import polars as pl
import pytest
from helpers.csv_tables import table, write

from twotower_jax.data.sources import load
from twotower_jax.errors import InputError

BESIDE = {"item": "shown", "clicked": "clicked"}


def rows(log):
    """Return [(user, item, stage, request)] with the ids of the file."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    return [
        (users[u], items[i], int(stage), int(request))
        for u, i, stage, request in zip(
            log.user, log.item, log.stage, log.request, strict=True
        )
    ]


WANTED = [("u", "a", 4, 0), ("u", "b", 5, 0), ("u", "c", 4, 0), ("v", "a", 4, 1)]
WANTED += [("v", "b", 4, 1)]


SAME = {"item": "shown", "clicked": "shown"}
BRACKETS = "user,shown,clicked\nu,\"['a', 'b', 'c']\",['b']\nv,\"['a','b']\",[]\n"


@pytest.mark.parametrize(
    ("text", "columns", "separator"),
    [
        ("user,shown,clicked\nu,a b c,b\nv,a b,\n", BESIDE, "space"),
        ("user,shown,clicked\nu,a b c,0 1 0\nv,a b,0 0\n", BESIDE, "space"),
        (BRACKETS, BESIDE, "comma"),
        ("user,shown\nu,a-0 b-1 c-0\nv,a-0 b-0\n", SAME, "space"),
        ("user,shown,clicked\nu,a|b|c,b\nv,a|b,\n", BESIDE, "bar"),
    ],
    ids=["clicked ids", "flags", "brackets", "labels", "bars"],
)
def test_a_list_becomes_the_rows_of_a_request(text, columns, separator, tmp_path):
    path = write(tmp_path, "a.csv", text)
    assert rows(load(table(path, columns, list_separator=separator))) == WANTED


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("clicked", [[[8], []], [[0, 1, 0], [0, 0]], [8, None]])
def test_lists_of_typed_files_need_no_separator(ending, clicked, tmp_path):
    frame = pl.DataFrame(
        {"user": ["u", "v"], "shown": [[7, 8, 9], [7, 8]], "clicked": clicked}
    )
    path = tmp_path / f"a.{ending}"
    frame.write_parquet(path) if ending == "parquet" else frame.write_ndjson(path)
    log = load(table(str(path), BESIDE))
    assert log.item_ids.to_list() == [7, 8, 9]
    assert log.stage.tolist() == [4, 5, 4, 4, 4]
    assert log.request.tolist() == [0, 0, 0, 1, 1]


def test_other_columns_are_repeated_and_lists_beside_are_taken_apart(tmp_path):
    frame = pl.DataFrame(
        {
            "user": [1, 2],
            "item": [[7, 8], [9]],
            "at": [10.0, 20.0],
            "place": [[0, 1], [0]],
            "r": ["p", "q"],
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    columns = {"time": "at", "rank": "place", "request": "r"}
    log = load(table(str(tmp_path / "a.parquet"), columns))
    assert log.time.tolist() == [10, 10, 20] and log.rank.tolist() == [0, 1, 0]
    assert log.stage.tolist() == [5, 5, 5] and log.request.tolist() == [0, 0, 1]


def test_lines_of_a_user_and_its_items(tmp_path):
    path = write(tmp_path, "a.txt", "5 7 8\n6\n7 8 9 7\n")
    names = {"user": "column_0", "item": "column_1"}
    keys = {"separator": "space", "list_separator": "space", "header": False}
    log = load(table(path, names, **keys))
    assert rows(log) == [
        (5, 7, 5, 0),
        (5, 8, 5, 0),
        (7, 8, 5, 2),
        (7, 9, 5, 2),
        (7, 7, 5, 2),
    ]
    assert log.dropped == {"rows without items": 1}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        (
            "user,shown,clicked\nu,a b,0 1\nv,a b c,0 1\n",
            BESIDE,
            "a.csv: row 2, column 'clicked': lists 2 values beside 3 items; give lists",
        ),
        (
            "user,shown,clicked\nu,a b,b\nv,a b c,x\n",
            BESIDE,
            "a.csv: row 2, column 'clicked': 'x' is not among the items of its row",
        ),
        (
            "user,shown\nu,a-0 b\n",
            {"item": "shown", "clicked": "shown"},
            "row 2, column 'shown': 'b' has no label; end each item with -1",
        ),
        (
            "user,shown\nu,\nv,\n",
            {"item": "shown"},
            "no row of column 'shown' lists an item; check data.columns.item",
        ),
        (
            "user,shown,place\nu,a b,0\n",
            {"item": "shown", "rank": "place"},
            "row 1, column 'place': lists 1 values beside 2 items",
        ),
    ],
)
def test_bad_lists_are_named(text, columns, message, tmp_path):
    path = write(tmp_path, "a.csv", text)
    with pytest.raises(InputError) as caught:
        load(table(path, columns, list_separator="space"))
    assert message in str(caught.value)


def test_a_row_without_a_request_is_a_request_of_its_own(tmp_path):
    path = write(tmp_path, "a.csv", "user,item,r\n1,1,5\n1,2,5\n2,1,\n2,3,\n2,4,4\n")
    log = load(table(path, {"request": "r"}))
    assert log.request[0] == log.request[1]
    assert len(set(log.request.tolist())) == 4
    path = write(tmp_path, "b.csv", "user,item,r\n1,1,x\n1,2,x\n2,1,\n2,3,y\n2,4,\n")
    log = load(table(path, {"request": "r"}))
    assert log.request[0] == log.request[1]
    assert len(set(log.request.tolist())) == 4


# ------------------------------------------------------------- keys beside the lists


def test_events_name_the_positives(tmp_path):
    path = write(tmp_path, "a.csv", "user,item,e\n1,1,view\n1,2,buy\n2,1,cart\n")
    keys = {"columns": {"clicked": "e"}, "clicked_values": ("buy", "cart")}
    assert load(table(path, **keys)).stage.tolist() == [4, 5, 5]
    with pytest.raises(InputError, match=r"its values are: view, buy, cart; choose"):
        load(table(path, {"clicked": "e"}, clicked_values=("bought",)))
    with pytest.raises(InputError, match="needs the column of these values"):
        load(table(path, clicked_values=("buy",)))


def test_a_table_of_items_has_its_own_name_of_ids(tmp_path):
    path = write(tmp_path, "a.csv", "user;item\n1;7\n2;8\n")
    items = write(tmp_path, "items.csv", "sku;price\n8;1\n7;3\n")
    config = table(
        path,
        items_path=items,
        items_id="sku",
        separator="semicolon",
        candidate_features={"price": "numeric"},
    )
    log = load(config)
    assert log.item_features["price"].values.tolist() == [1, -1]
    config.items_id = "code"
    with pytest.raises(InputError, match=r"no column 'code' \(data.items_id=code\)"):
        load(config)
