"""MovieLens: latest, latest-small, 20M and 25M (csv), 1M (.dat) and 100K (u.data)."""

from pathlib import Path

import polars as pl

from twotower_jax.data import parse
from twotower_jax.data.build import build_log
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.sources.files import (
    decode_lines,
    need_columns,
    need_folder,
    need_in_folder,
    read_table,
)
from twotower_jax.data.sources.table import stage_of_rating
from twotower_jax.errors import InputError
from twotower_jax.schema.data import DataConfig

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
HINT = "ratings.csv and movies.csv (unpacked from files.grouplens.org)"
NO_GENRES = "(no genres listed)"
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def _fields(path: Path, separator: str, width: int, encoding: str) -> pl.DataFrame:
    """Read lines without a header; every line must have ``width`` fields."""
    rows = []
    for number, line in enumerate(decode_lines(path, encoding), start=1):
        fields = line.split(separator)
        if len(fields) != width:
            raise InputError(
                f"{path}: row {number} has {len(fields)} fields separated by "
                f"{separator!r} where {width} belong; repair or remove the row"
            )
        rows.append(fields)
    names = [f"column_{i}" for i in range(width)]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _named(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _read_csv(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    tables = []
    for name, columns in (
        ("ratings.csv", RATING_COLUMNS),
        ("movies.csv", ("movieId", "title", "genres")),
    ):
        path = need_in_folder(folder, name, HINT)
        frame = read_table(path)
        need_columns(frame, {f"the header of {name}": c for c in columns}, str(path))
        tables.append(frame.select(columns))
    return tables[0], tables[1]


def _read_1m(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    ratings = _fields(folder / "ratings.dat", "::", 4, "latin-1")
    movies = need_in_folder(folder, "movies.dat", "ratings.dat and movies.dat")
    movies = _fields(movies, "::", 3, "latin-1")
    return _named(ratings, RATING_COLUMNS), _named(
        movies, ("movieId", "title", "genres")
    )


def _read_100k(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    ratings = _fields(folder / "u.data", "\t", 4, "latin-1")
    path = need_in_folder(folder, "u.item", "u.data and u.item")
    items = _fields(path, "|", 5 + len(GENRES_100K), "latin-1")
    flags = [
        pl.when(pl.col(f"column_{5 + i}") == "1").then(pl.lit(genre))
        for i, genre in enumerate(GENRES_100K)
    ]
    genres = pl.concat_str(flags, separator="|", ignore_nulls=True)
    movies = items.select(movieId="column_0", title="column_1", genres=genres)
    return _named(ratings, RATING_COLUMNS), movies


_FORMATS = {"ratings.csv": _read_csv, "ratings.dat": _read_1m, "u.data": _read_100k}


def load(config: DataConfig) -> FunnelLog:
    """Read a MovieLens folder; ratings from ``data.min_rating`` on are positives.

    Lower ratings are exposed rows; without ``data.min_rating`` every rating is a
    positive. Item features: genres (multi) and year (numeric, from the title).

    Raises:
      InputError: no such folder or files, or a bad value with its file and row.
    """
    folder = need_folder(config.path, "data.path", HINT)
    found = [name for name in _FORMATS if (folder / name).exists()]
    if not found:
        raise InputError(
            f"data.path={str(folder)!r} holds none of {', '.join(_FORMATS)}; give the "
            f"folder with {HINT}"
        )
    where = str(folder / found[0])
    ratings, movies = _FORMATS[found[0]](folder)
    ids = [
        parse.text_to_ids(parse.to_ids(ratings[name], where, name))
        for name in ("userId", "movieId")
    ]
    frame = pl.DataFrame(
        {
            "user": ids[0],
            "item": ids[1],
            "time": parse.to_time(ratings["timestamp"], where, "timestamp"),
            "stage": stage_of_rating(
                ratings["rating"], config.min_rating, where, "rating"
            ),
        }
    )
    genres = pl.col("genres")
    items = movies.select(
        item=parse.text_to_ids(movies["movieId"]),
        genres=pl.when(genres != NO_GENRES).then(genres),
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64),
    )
    kinds = {"genres": "multi", "year": "numeric"}
    return build_log(frame, where=where, item_features=items, item_kinds=kinds)
