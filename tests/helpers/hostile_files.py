"""A small log of every source of files, and changes that spoil one of its files."""

from pathlib import Path

import numpy as np
import polars as pl

from helpers import tiny
from helpers.kuaishou import write_kuairand, write_recflow

ROWS = 400
CELLS = (
    *("", " ", "-1", "0", "nan", "inf", "-inf", "1e308", "-1e308", "1e999", "null"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1.5"),
    *("0001", "\ufeff1", "\x00", "\x1b[31m", "'", '"', '""', '"a\nb"', "a,b", "a\tb"),
    *("2024-13-40", "9999-12-31", "0000-00-00", "1969-12-31T23:59:59+05:30", "[]"),
    *("[1, 2", "{", '{"a": 1}', "<script>", "$(touch made)", "../../up", "ü" * 300),
    *("\u202e", "\ud7ff", "x" * 70_000, "True", "N1-2", "N1-0 N1-0", "1|2|3", "%s"),
)
LINES = ("", "\n\n", "user,item", ",,,,,", "a" * 9_000, '"', "#", "\x00\x00", "{}")


def _table(seed=0):
    """Return rows of a log that can be trained on."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 30, ROWS), rng.integers(0, 40, ROWS)
    return pl.DataFrame(
        {
            "user": [f"u{one}" for one in user],
            "item": item,
            "time": 1_700_000_000 + np.arange(ROWS),
            "clicked": rng.integers(0, 2, ROWS),
            "age": user % 7,
        }
    )


def _text(separator):
    def write(folder):
        path = folder / f"log.{'tsv' if separator == chr(9) else 'csv'}"
        _table().write_csv(path, separator=separator)
        return path

    return write


def _written(name, method):
    def write(folder):
        getattr(_table(), method)(folder / name)
        return folder / name

    return write


def _movielens(folder):
    _table().select(
        userId=pl.col("age") * 9 + pl.col("item") % 5,
        movieId="item",
        rating=pl.col("clicked") * 2 + 2.5,
        timestamp="time",
    ).write_csv(folder / "ratings.csv")
    pl.DataFrame(
        {"movieId": range(40), "title": ["A (1999)"] * 40, "genres": ["Comedy"] * 40}
    ).write_csv(folder / "movies.csv")
    return folder


def _lightgcn(folder):
    rng = np.random.default_rng(1)
    for name, number in (("train", 8), ("test", 3)):
        lines = (
            f"{user} {' '.join(map(str, rng.permutation(30)[:number]))}"
            for user in range(25)
        )
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def _mind(folder):
    rng = np.random.default_rng(2)
    news = "".join(
        f"N{n}\tsports\tgolf\tTitle {n}\tAbstract\thttps://a/b\t[]\t[]\n"
        for n in range(20)
    )
    for name, rows in (("train", 80), ("dev", 30)):
        part = folder / f"MINDsmall_{name}"
        part.mkdir()
        lines = []
        for row in range(rows):
            shown = rng.permutation(20)[:5]
            marked = " ".join(f"N{n}-{int(k == 0)}" for k, n in enumerate(shown))
            moment = f"11/{1 + row % 28}/2019 9:05:58 AM"
            past = " ".join(f"N{n}" for n in rng.permutation(20)[:4])
            lines.append(f"{row + 1}\tU{row % 9}\t{moment}\t{past}\t{marked}\n")
        (part / "behaviors.tsv").write_text("".join(lines))
        (part / "news.tsv").write_text(news)
    return folder


def _recbole(folder):
    path = folder / "shop"
    path.mkdir()
    rows = _table().select("user", "item", "clicked", "time")
    body = rows.write_csv(separator="\t", include_header=False)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (path / "shop.inter").write_text(head + body)
    items = "".join(f"{n}\t{n % 5}\n" for n in range(40))
    (path / "shop.item").write_text("item_id:token\tkind:token\n" + items)
    return path


def _wikispeedia(folder):
    rng, names = np.random.default_rng(3), "ABCDEFGH"
    links = [(a, b) for a in names for b in names if a != b]
    paths = "".join(
        f"player{n % 7}\t{100 + n}\t9\t{';'.join(rng.permutation(list(names))[:4])}\t"
        "A\ttimeout\n"
        for n in range(120)
    )
    texts = {
        "articles": "".join(f"{a}\n" for a in names),
        "links": "".join(f"{a}\t{b}\n" for a, b in links),
        "categories": "".join(f"{a}\tsubject.Science\n" for a in names),
        "paths_unfinished": paths,
    }
    for name, text in texts.items():
        (folder / f"{name}.tsv").write_text(f"# {name}\n\n{text}")
    return folder


def _prepared(folder):
    path = folder / "log.csv"
    _table().write_csv(path)
    words = ("data=table", f"data.path={path}", "data.columns.time=time")
    assert tiny.command("data", "prepare", *words, "--out", str(folder / "made")) == 0
    return folder / "made"


def _folder(write):
    def made(folder):
        write(folder)
        return folder

    return made


COLUMNS = ("data.columns.user=user", "data.columns.item=item")
TIMES = ("data.columns.time=time", "data.columns.clicked=clicked")
FEATURES = ("data.query_features={age:numeric}",)
TABLE = ("data=table", *COLUMNS, *TIMES, *FEATURES)
# {name: (what writes the log and returns its path, the words that read it)}
LOGS = {
    "csv": (_text(","), TABLE),
    "tsv": (_text("\t"), TABLE),
    "json lines": (_written("log.jsonl", "write_ndjson"), TABLE),
    "parquet": (_written("log.parquet", "write_parquet"), TABLE),
    "feather": (_written("log.feather", "write_ipc"), TABLE),
    "movielens": (_movielens, ("data=movielens",)),
    "lightgcn": (_lightgcn, ("data=lightgcn",)),
    "mind": (_mind, ("data=mind",)),
    "recbole": (_recbole, ("data=recbole", "data.columns.time=timestamp")),
    "wikispeedia": (_wikispeedia, ("data=wikispeedia",)),
    "recflow": (_folder(write_recflow), ("data=recflow",)),
    "kuairand": (_folder(write_kuairand), ("data=kuairand",)),
    "prepared": (_prepared, ("data=prepared",)),
}


def spoil(path: Path, kind: str, place: float, cell: str) -> None:
    """Change a file at a place between 0 and 1.

    Args:
      path: of the file.
      kind: "cell", "line" or "column" of a text; "type" of a column of a typed file;
        else "bit", "cut", "zeros" or "empty" of any.
      place: of the change.
      cell: a text that is put there.
    """
    if kind == "type" and path.suffix in (".parquet", ".feather"):
        return _retype(path, place, cell)
    content = path.read_bytes()
    at = int(place * max(0, len(content) - 1))
    if kind in ("cell", "line", "column", "type"):
        content = _changed(content, kind, place, cell)
    elif kind == "bit" and content:
        content = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
    elif kind == "cut":
        content = content[:at]
    elif kind == "zeros":
        content = content[:at] + bytes(64) + content[at + 64 :]
    else:
        content = b""
    path.write_bytes(content)


def _changed(content: bytes, kind: str, place: float, cell: str) -> bytes:
    """Return a text with another cell, another line, or a column twice."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = int(place * max(0, len(lines) - 1))
    mark = max("\t,; ", key=content.decode("utf-8", "replace").count)
    if kind == "line":
        lines.insert(at, cell)
    elif kind == "cell":
        cells = lines[at].split(mark)
        cells[int(place * 997) % len(cells)] = cell
        lines[at] = mark.join(cells)
    elif kind == "column":
        lines = [f"{line}{mark}{line.split(mark)[0]}" for line in lines]
    else:
        lines[0] = mark.join([cell, *lines[0].split(mark)[1:]])
    return "\n".join(lines).encode("utf-8", "surrogatepass")


TYPES = (
    *(pl.Float64, pl.String, pl.Boolean, pl.Categorical, pl.Binary, pl.Null),
    *(pl.Duration, pl.Datetime, pl.Time, pl.List(pl.Int64), pl.Int128),
    pl.Struct({"a": pl.Int64}),
)


def _retype(path: Path, place: float, cell: str) -> None:
    """Write a typed file with a column of another type, or another name."""
    typed = path.suffix == ".parquet"
    try:
        frame = pl.read_parquet(path) if typed else pl.read_ipc(path.read_bytes())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return  # it is spoiled already
    name = frame.columns[int(place * 997) % len(frame.columns)]
    kind = TYPES[int(place * 9973) % len(TYPES)]
    try:
        made = frame[name].cast(kind, strict=False)
    except pl.exceptions.PolarsError:
        made = pl.Series(name, [None] * len(frame), dtype=kind)
    changed = frame.with_columns(made.alias(name))
    if place > 0.8:
        changed = changed.rename({name: cell[:99] or "none"}, strict=False)
    try:
        (changed.write_parquet if typed else changed.write_ipc)(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        path.write_bytes(b"PAR1")
