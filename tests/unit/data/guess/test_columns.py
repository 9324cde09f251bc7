"""Columns of logs with many kinds of headers, and their meaning."""

import random

import polars as pl
import pytest
from helpers.csv_tables import text

from twotower_jax.data.guess.log import guess_log
from twotower_jax.errors import InputError


def pick(i, *values):
    return values[i % len(values)]


# name of the file, text, {role: column}, other keys
VARIANTS = {
    "movielens": (
        "ratings.csv",
        text(
            "userId,movieId,rating,timestamp",
            lambda i: (i % 7, i % 11, pick(i, 0.5, 3.0, 4.5, 5.0), 964982703 + i),
        ),
        {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"},
        {"min_rating": 4},
    ),
    "amazon 5-core": (
        "Books.csv",
        text(
            "user_id,parent_asin,rating,timestamp",
            lambda i: (f"A{i % 7}", f"B{i % 9}", i % 5 + 1.0, 1370000000000 + i),
        ),
        {
            "user": "user_id",
            "item": "parent_asin",
            "rating": "rating",
            "time": "timestamp",
        },
        {"min_rating": 4},
    ),
    "amazon ratings without a header": (
        "ratings_Books.csv",
        text(
            None,
            lambda i: (f"A{i % 7}", f"B{i % 9}", i % 5 + 1.0, 1370000000 + 86400 * i),
        ),
        {"user": "column_0", "item": "column_1", "rating": "column_2"}
        | {"time": "column_3"},
        {"min_rating": 4, "header": False},
    ),
    "dependencies of packages": (
        "graph.csv",
        text("package,depends", lambda i: (f"p{i % 7}", f"q{i % 11}")),
        {"user": "package", "item": "depends"},
        {},
    ),
    "orders with a reference": (
        "orders.csv",
        text("customer,sku,reference", lambda i: (i % 7, f"s{i % 11}", f"r{i}")),
        {"user": "customer", "item": "sku"},
        {},
    ),
    "citations": (
        "cites.csv",
        text("cited_paper_id,article_id", lambda i: (i % 7, 1000 + i % 11)),
        {"user": "article_id", "item": "cited_paper_id"},
        {},
    ),
    "instacart": (
        "orders.csv",
        text(
            "order_id,user_id,product_id,add_to_cart_order,reordered",
            lambda i: (i // 3, i // 6, i % 11, i % 3 + 1, i % 2),
        ),
        {"user": "user_id", "item": "product_id", "request": "order_id"},
        {},
    ),
    "retailrocket": (
        "events.csv",
        text(
            "timestamp,visitorid,event,itemid,transactionid",
            lambda i: (
                1433221332117 + i,
                i % 7,
                pick(i, "view", "view", "view", "view", "addtocart", "transaction"),
                i % 11,
                i if i % 6 == 5 else "",
            ),
        ),
        {"user": "visitorid", "item": "itemid", "time": "timestamp"},
        {},
    ),
    "impressions and clicks": (
        "log.csv",
        text(
            "uid,ad_id,action,ts",
            lambda i: (i % 7, i % 11, pick(i, "impression", "click"), 1600000000 + i),
        ),
        {"user": "uid", "item": "ad_id", "clicked": "action", "time": "ts"},
        {"clicked_values": ["click"]},
    ),
    "lightgcn lines": (
        "all.txt",
        "".join(f"{u} {' '.join(map(str, range(u % 5 + 2)))}\n" for u in range(40)),
        {"user": "column_0", "item": "column_1"},
        {"separator": "space", "header": False, "list_separator": "space"},
    ),
    "mind impressions": (
        "impressions.tsv",
        text(
            "impression_id\tuser_id\ttime\thistory\timpressions",
            lambda i: (
                i,
                f"U{i % 7}",
                f"11/15/2019 8:{i % 60:02}:22 AM",
                f"N{i % 5} N{i % 3}",
                f"N{i % 9}-0 N{i % 4 + 10}-1 N77-0",
            ),
            "\t",
        ),
        {"user": "user_id", "item": "impressions", "clicked": "impressions"}
        | {"time": "time", "request": "impression_id"},
        {"list_separator": "space"},
    ),
    "dependency graph": (
        "graph.csv",
        text("repo,package", lambda i: (f"o/r{i % 7}", f"p{i % 11}")),
        {"user": "repo", "item": "package"},
        {},
    ),
    "recipes": (
        "interactions.csv",
        text(
            "user_id,recipe_id,date,rating,u,i",
            lambda i: (i % 7, i % 11, f"2003-02-{i % 28 + 1:02}", i % 6, 1, 1),
        ),
        {"user": "user_id", "item": "recipe_id", "date": "date", "rating": "rating"},
        {"min_rating": 4},
    ),
    "sessions without users": (
        "yoochoose.csv",
        text(
            "session_id,item_id,timestamp",
            lambda i: (i // 4, i % 11, f"2014-04-07T10:51:{i:02}.277Z"),
        ),
        {"user": "session_id", "item": "item_id", "time": "timestamp"},
        {},
    ),
    "stages": (
        "funnel.csv",
        text(
            "request,who,what,stage,position",
            lambda i: (
                i // 4,
                i // 8,
                i % 11,
                pick(i, "retrieved", "ranked", "exposed", "clicked"),
                i % 4,
            ),
        ),
        {"user": "who", "item": "what", "stage": "stage", "request": "request"}
        | {"rank": "position"},
        {},
    ),
    "names that mean nothing": (
        "a.csv",
        text("left,right", lambda i: (f"x{i % 7}", f"y{i % 11}")),
        {"user": "left", "item": "right"},
        {},
    ),
    "edges": (
        "a.csv",
        text("source,target", lambda i: (f"p{i % 29}", f"p{i % 31}")),
        {"user": "source", "item": "target"},
        {},
    ),
    "times of an unknown name first": (
        "a.csv",
        text("zeit,kunde,artikel", lambda i: (1_650_000_000_000 + i, i % 7, i % 11)),
        {"user": "kunde", "item": "artikel", "time": "zeit"},
        {},
    ),
    "long numbers that are no dates": (
        "a.csv",
        text("kunde,ean", lambda i: (i % 7, 4_006_381_333_900 + i % 11)),
        {"user": "kunde", "item": "ean"},
        {},
    ),
    "two columns of which one could be times": (
        "a.csv",
        text("kunde,ware", lambda i: (i % 7, 1_650_000_000 + i % 11)),
        {"user": "kunde", "item": "ware"},
        {},
    ),
    "semicolons": (
        "a.csv",
        text("Customer ID;Product ID;Label", lambda i: (i % 7, i % 11, i % 2), ";"),
        {"user": "Customer ID", "item": "Product ID", "clicked": "Label"},
        {"separator": "semicolon"},
    ),
    "recbole header": (
        "a.tsv",
        text("user_id:token\titem_id:token", lambda i: (i % 7, i % 11), "\t"),
        {"user": "user_id:token", "item": "item_id:token"},
        {},
    ),
    "playlists": (
        "a.tsv",
        text(
            "playlist_id\ttrack_uri\tpos", lambda i: (i // 5, f"t{i % 9}", i % 5), "\t"
        ),
        {"user": "playlist_id", "item": "track_uri", "rank": "pos"},
        {},
    ),
    "label beside a rank of search": (
        "a.csv",
        text(
            "query,doc_id,label,position",
            lambda i: (f"how {i // 5}", i % 11, i % 2, i % 5),
        ),
        {"user": "query", "item": "doc_id", "clicked": "label", "rank": "position"},
        {},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_columns_of_a_known_kind_of_log(name, tmp_path):
    file, content, columns, more = VARIANTS[name]
    path = tmp_path / file
    path.write_text(content)
    guess = guess_log(path, {}, {})
    if "date" in columns:
        columns = columns | {"time": columns["date"]}
        del columns["date"]
    assert {role: column.name for role, column in guess.columns.items()} == columns
    others = {k: v for k, v in guess.keys.items() if not k.startswith("columns.")}
    assert others == {"path": str(path)} | more
    assert guess.source == "table"


def test_the_order_of_columns_does_not_matter(tmp_path):
    mixed = random.Random(0)
    for name in ("movielens", "retailrocket", "recipes", "stages", "instacart"):
        file, content, columns, _ = VARIANTS[name]
        rows = [line.split(",") for line in content.splitlines()]
        order = mixed.sample(range(len(rows[0])), len(rows[0]))
        path = tmp_path / file
        path.write_text("\n".join(",".join(row[j] for j in order) for row in rows))
        found = guess_log(path, {}, {}).columns
        wanted = set(columns.values())
        assert {column.name for column in found.values()} == wanted, name


def test_a_given_column_wins(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text("user_id,who,item", lambda i: (i % 5, i % 7, i % 3)))
    assert guess_log(path, {}, {}).columns["user"].name == "user_id"
    guess = guess_log(path, {}, {"user": "who"})
    assert guess.columns["user"] == ("who", "as given")
    assert guess.keys["columns.user"] == "who"
    with pytest.raises(
        InputError, match=r"no column 'whom' \(data.columns.user=whom\)"
    ):
        guess_log(path, {}, {"user": "whom"})


@pytest.mark.parametrize(
    ("shown", "clicked"),
    [
        ([[1, 2], [2, 3]] * 5, [[2], []] * 5),
        ([[1, 2], [2, 3]] * 5, [[0, 1], [0, 0]] * 5),
    ],
    ids=["ids", "flags"],
)
def test_lists_of_typed_files(shown, clicked, tmp_path):
    path = tmp_path / "a.parquet"
    users = list(range(10))
    frame = {"user": users, "shown_items": shown, "clicked_items": clicked}
    pl.DataFrame(frame).write_parquet(path)
    guess = guess_log(path, {}, {})
    names = {role: column.name for role, column in guess.columns.items()}
    assert names == {
        "user": "user",
        "item": "shown_items",
        "clicked": "clicked_items",
    }
    assert "list_separator" not in guess.keys


def test_reviews_with_lists_and_records_beside_the_item(tmp_path):
    """Amazon's reviews: `helpful` is a list, and not that of the items."""
    path = tmp_path / "reviews_Books_5.json"
    frame = {
        "reviewerID": [f"A{i % 7}" for i in range(40)],
        "asin": [f"00{i % 9}" for i in range(40)],
        "helpful": [[0, i] for i in range(40)],
        "style": [{"Format:": "Paperback"}] * 40,
        "reviewText": ["Good, or not"] * 40,
        "overall": [i % 5 + 1.0 for i in range(40)],
        "unixReviewTime": [1_370_000_000 + i for i in range(40)],
        "reviewTime": ["05 23, 2014"] * 40,
    }
    pl.DataFrame(frame).write_ndjson(path)
    guess = guess_log(path, {}, {})
    assert {role: column.name for role, column in guess.columns.items()} == {
        "user": "reviewerID",
        "item": "asin",
        "rating": "overall",
        "time": "unixReviewTime",
    }
    assert guess.keys["min_rating"] == 4


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("MINDsmall_train/behaviors.tsv", "mind"),
        ("x/train.txt", "lightgcn"),
        ("ml-100k/u.data", "movielens"),
        ("d/d.inter", "recbole"),
    ],
)
def test_a_file_of_a_public_data_set_is_read_by_its_source(file, source, tmp_path):
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text("1 2 3\n")
    for beside in ("news.tsv", "test.txt"):
        path.with_name(beside).touch()
    guess = guess_log(path, {}, {})
    assert guess.source == source and guess.keys == {"path": str(path.parent)}


def test_a_place_of_few_values_is_not_taken_for_the_items(tmp_path):
    path = tmp_path / "a.csv"
    rows = (
        f"v{i % 83},e{i * i % 331},{1 + i % 28}.02.2024,{i % 4}" for i in range(2000)
    )
    path.write_text("\n".join(["visitor,exhibit,entered at,place", *rows]))
    columns = guess_log(path, {}, {}).columns
    found = {role: column.name for role, column in columns.items()}
    assert found == {"user": "visitor", "item": "exhibit", "time": "entered at"}
    assert columns["item"].why == "166 values, and 'place' has 4"


@pytest.mark.parametrize(
    ("name", "value"), [("date", "15. Mai 2020"), ("datum", "2020/15/5")]
)
def test_a_time_that_is_not_read_is_noted(name, value, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text(f"user,item,{name}", lambda i: (i % 5, i % 3, value)))
    guess = guess_log(path, {}, {})
    assert "time" not in guess.columns
    message = f"column {name!r} (such as {value!r}) is not read as a time"
    assert message in guess.notes[0]


# --------------------------------------------------------------- tables of features


def test_a_table_of_items_names_its_own_ids(tmp_path):
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text(text("user,item", lambda i: (i % 9, f"i{i % 7}")))
    lines = ["code,year,price,shop,tags,title"]
    for i in range(9):
        lines.append(f"i{i},{1990 + i % 3},{i / 4},s{i % 3},a|b{i % 2},A film of {i}")
    items.write_text("\n".join(lines) + "\n")
    guess = guess_log(log, {"item": items}, {})
    assert guess.keys["items_path"] == str(items)
    assert guess.keys["items_id"] == "code"
    assert guess.keys["candidate_features"] == {
        "year": "categorical",
        "price": "numeric",
        "shop": "categorical",
        "tags": "multi",
    }
    assert "'title' is left out: nearly every row has its own text" in guess.notes[0]


def test_a_table_without_the_ids_of_the_log_is_refused(tmp_path):
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text(text("user,item", lambda i: (i % 9, f"i{i % 7}")))
    items.write_text("sku,shop\nx1,s\nx2,t\n")
    with pytest.raises(InputError) as caught:
        guess_log(log, {"item": items}, {})
    message = str(caught.value)
    assert "no column holds the items of the log's column 'item' (such as 'i" in message
    assert "sku (such as 'x1'), shop (such as 's')" in message
