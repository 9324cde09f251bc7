"""MovieLens: latest, latest-small, 20M and 25M (csv), 1M and 10M (.dat), 100K (u.data).

The layouts are those of the archives of files.grouplens.org, whose README files
describe them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.parse import to_time
from twotower_jax.data.sources.files import (
    need_columns,
    need_folder,
    need_in_folder,
    need_whole,
    read_fields,
    read_table,
)
from twotower_jax.data.sources.table import stage_of_rating
from twotower_jax.data.weights import KEY, to_weight
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS = ("movieId", "title", "genres")
HINT = "ratings.csv and movies.csv (unpacked from files.grouplens.org)"
NO_GENRES = "(no genres listed)"
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
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


class Tables(NamedTuple):
    """Tables of text.

    Attributes:
      ratings: columns userId, movieId, rating, timestamp.
      movies: columns movieId, title, genres (joined by ``|``).
      users: columns user, gender, age, occupation, or None.
    """

    ratings: pl.DataFrame
    movies: pl.DataFrame
    users: pl.DataFrame | None = None


def _named(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _read_csv(folder: Path) -> Tables:
    tables = []
    for name, columns in (
        ("ratings.csv", RATING_COLUMNS),
        ("movies.csv", MOVIE_COLUMNS),
    ):
        path = need_in_folder(folder, name, HINT)
        need_whole(path)
        frame = read_table(path)
        for column in columns:
            need_columns(frame, {f"the header of {name}": column}, str(path))
        tables.append(frame.select(columns))
    return Tables(*tables)


def _read_dat(folder: Path) -> Tables:
    """Read 1M (ages are lower ends of brackets) or 10M (without users)."""
    ratings = read_fields(folder / "ratings.dat", "::", 4, encoding="latin-1")
    path = need_in_folder(folder, "movies.dat", "ratings.dat and movies.dat")
    movies = read_fields(path, "::", 3, encoding="latin-1")
    users = None
    if (path := folder / "users.dat").exists():
        users = read_fields(path, "::", 5, encoding="latin-1")
        users = _named(users, ("user", "gender", "age", "occupation", "zip"))
    return Tables(_named(ratings, RATING_COLUMNS), _named(movies, MOVIE_COLUMNS), users)


def _read_100k(folder: Path) -> Tables:
    ratings = read_fields(folder / "u.data", "\t", 4)
    path = need_in_folder(folder, "u.item", "u.data and u.item")
    items = read_fields(path, "|", 5 + len(GENRES_100K), encoding="latin-1")
    for i, genre in enumerate(GENRES_100K):
        flags = items[f"column_{5 + i}"]
        bad = ~flags.is_in(["0", "1"])
        parse.fail_at(bad, flags, str(path), genre, "is not a flag; give 0 or 1")
    flags = [
        pl.when(pl.col(f"column_{5 + i}") == "1").then(pl.lit(genre))
        for i, genre in enumerate(GENRES_100K)
    ]
    genres = pl.concat_str(flags, separator="|", ignore_nulls=True)
    movies = items.select(movieId="column_0", title="column_1", genres=genres)
    users = None
    if (path := folder / "u.user").exists():
        users = read_fields(path, "|", 5, encoding="latin-1")
        users = _named(users, ("user", "age", "gender", "occupation", "zip"))
        age = parse.to_number(users["age"], str(path), "age")
        users = users.with_columns(age)
    return Tables(_named(ratings, RATING_COLUMNS), movies, users)


# By the name of the file of ratings.
FORMATS: Registry[Callable[[Path], Tables]] = Registry(
    "file of ratings",
    {"ratings.csv": _read_csv, "ratings.dat": _read_dat, "u.data": _read_100k},
)


def load(config: DataConfig) -> FunnelLog:
    """Log of a MovieLens folder; ratings from ``data.min_rating`` on are positives.

    Lower ratings are exposed rows; without ``data.min_rating`` every rating is a
    positive. Item features: genres (multi) and year (numeric, from the title). 1M and
    100K have user features gender and occupation (categorical) and age: of brackets
    (categorical) in 1M, of years (numeric) in 100K.
    """
    folder = need_folder(config.path, "data.path", HINT)
    name = next((name for name in FORMATS if (folder / name).exists()), None)
    if name is None:
        raise InputError(
            f"data.path={str(folder)!r} holds none of {', '.join(FORMATS)}; give the "
            f"folder with {HINT}"
        )
    ratings, movies, users = FORMATS[name](folder)
    if users is not None:
        users = users.select(
            "gender", "age", "occupation", user=parse.text_to_ids(users["user"])
        )
    where = str(folder / name)
    return build_log(
        _rows(ratings, config, where),
        where=where,
        users=None if users is None else SideTable(users),
        items=SideTable(_item_features(movies), {"genres": "multi", "year": "numeric"}),
    )


def _rows(ratings: pl.DataFrame, config: DataConfig, where: str) -> pl.DataFrame:
    """Return columns user, item, time and stage of the ratings, and their weight."""
    weight, minimum = config.columns.weight, config.min_rating
    ids = {
        side: parse.text_to_ids(parse.to_ids(ratings[name], where, name))
        for side, name in (("user", "userId"), ("item", "movieId"))
    }
    rows = {
        **ids,
        "time": to_time(ratings["timestamp"], where, "timestamp"),
        "stage": stage_of_rating(ratings["rating"], minimum, where, "rating"),
    }
    if weight is not None:
        need_columns(ratings, {KEY: weight}, where)
        rows["weight"] = to_weight(ratings[weight], rows["stage"], where)
    return pl.DataFrame(rows)


def _item_features(movies: pl.DataFrame) -> pl.DataFrame:
    genres = pl.col("genres")
    return movies.select(
        item=parse.text_to_ids(movies["movieId"]),
        genres=pl.when(genres != NO_GENRES).then(genres),
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64),
    )
