"""Guess about a whole log: its file, its columns and its tables of features.

The keys of the configuration that read it are guessed from a sample. They decide
nothing for a run: they are printed, and ``twotower train`` reads them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from twotower_jax.data.guess.layout import Sample, read_log_sample, read_sample
from twotower_jax.data.guess.names import role_score
from twotower_jax.data.guess.profile import Profile, feature_kind, profile
from twotower_jax.data.guess.roles import Column, Roles, guess_roles, unfit_name
from twotower_jax.data.sources.layout import Layout
from twotower_jax.errors import InputError

ROLES = ("user", "item", "time", "clicked", "rating", "stage", "request", "rank")
DEFAULT = ("user", "item")  # roles whose column has a name by default
FEATURES = {"item": "candidate_features", "user": "query_features"}
# Names of files in the folders of public data sets -> data.source that reads these.
FILES = {
    "behaviors.tsv": "mind",
    "u.data": "movielens",
    "ratings.dat": "movielens",
    "paths_unfinished.tsv": "wikispeedia",
    "paths_finished.tsv": "wikispeedia",
    "train.txt": "lightgcn",
    "test.txt": "lightgcn",
}
SHOWN = 3  # columns that a message lists
BESIDE = {"lightgcn": {"train.txt", "test.txt"}, "mind": {"news.tsv"}}


class Guess(NamedTuple):
    """The source, keys and columns of a log, as understood."""

    source: str  # value of ``data`` that reads it
    keys: dict[str, Any]  # {key below ``data``: value}
    columns: dict[str, Column]  # {role: column}; {} where the source knows them
    notes: list[str]  # remarks, one sentence each
    unused: tuple[str, ...] = ()  # columns of the log without a role


def guess_log(
    path: Path,
    sides: dict[str, Path],
    given: dict[str, str],
    layout: Layout | None = None,
) -> Guess:
    """Guess about a log."""
    known = None if given or layout else known_source(path)
    if known is not None and (not sides or known[0] == "recbole"):
        return _whole_set(path, *known, sides)
    sample = read_log_sample(path, layout)
    layout, frame = sample.layout, sample.frame
    columns: dict[str, Column] = {}
    if layout.separator and layout.list_separator:
        user, item = frame.columns
        columns["user"] = Column(user, "the first word of each line")
        columns["item"] = Column(item, "the other words of each line")
    columns |= {role: Column(name, "as given") for role, name in given.items()}
    roles = guess_roles(frame, columns, str(path))
    pairs = zip(Layout._fields, layout, Layout(), strict=True)
    keys: dict[str, Any] = {"path": str(path)}
    keys |= {name: value for name, value, usual in pairs if value != usual}
    keys |= roles.keys
    for role in ROLES:
        name = None if roles.lack(role) else roles.columns[role].name
        if name is not None and (name != role or role not in DEFAULT):
            keys[f"columns.{role}"] = name
    for side, file in sides.items():
        keys |= _side_keys(sample, side, file, roles)
    used = {column.name for column in roles.columns.values()}
    others = tuple(name for name in frame.columns if name not in used)
    return Guess("table", keys, roles.columns, roles.notes, others)


def known_source(path: Path) -> tuple[str, Path] | None:
    """Source that reads the folder of a public data set, and the folder."""
    whole, folder = path.is_dir(), path if path.is_dir() else path.parent
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if whole and {"ratings.csv", "movies.csv"} <= names:
        return "movielens", folder
    if path.suffix == ".inter" or (whole and any(folder.glob("*.inter"))):
        return "recbole", folder
    for name in sorted(names) if whole else [path.name]:
        source = FILES.get(name)
        if source and BESIDE.get(source, set()) <= names:
            return source, folder
    return None


def _whole_set(path: Path, source: str, folder: Path, sides: dict[str, Path]) -> Guess:
    """Return the guess about a public data set, which its own source reads."""
    if sides:
        options = " and ".join(f"--{side}s" for side in sides)
        raise InputError(
            f"{path}: data={source} reads this file with its .item and .user files; "
            f"leave {options} out"
        )
    notes = [f"{path}: belongs to a data set that data={source} reads as a whole"]
    for file in sorted(folder.glob("*.inter")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            if "rating:float" in lines.readline().split():
                notes.append(
                    f"{file}: every row counts as a positive; its ratings are read "
                    "with data.min_rating, such as 4 of 5"
                )
    return Guess(source, {"path": str(folder)}, {}, notes)


def _side_keys(log: Sample, side: str, path: Path, roles: Roles) -> dict[str, Any]:
    """Return the keys of a table of the features of users or items."""
    table = read_sample(path, rows=None)
    if not table.layout.header:
        raise InputError(f"{path}: has no names of columns in its first line; add them")
    if table.layout.separator not in (None, log.layout.separator):
        raise InputError(
            f"{path}: its fields are separated by {table.layout.separator}; write it "
            "with the separator of its ending, or with that of the log"
        )
    column = roles.columns[side].name
    ids = log.frame[column]
    if isinstance(ids.dtype, pl.List):
        ids = ids.explode()
    profiles = [profile(table.frame[name]) for name in table.frame.columns]
    key = _key_of_side(profiles, side, ids, str(path), column)
    kinds: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for feature in profiles:
        if feature.name == key:
            continue
        kind = feature_kind(feature, len(table.frame))
        if kind is None or unfit_name(feature.name):
            reasons[feature.name] = unfit_name(feature.name) or _reason(feature)
        else:
            kinds[feature.name] = kind
    for name, reason in reasons.items():
        roles.notes.append(f"{path}: column {name!r} is left out: {reason}")
    if not kinds:
        texts = [f"{name} ({reason})" for name, reason in reasons.items()]
        more = f"; and {len(texts) - SHOWN} more" * (len(texts) > SHOWN)
        listed = "; ".join(texts[:SHOWN]) + more
        raise InputError(
            f"{path}: no column beside the ids in {key!r} is a feature: {listed}; "
            f"add one, or leave out --{side}s"
        )
    keys: dict[str, Any] = {f"{side}s_path": str(path), FEATURES[side]: kinds}
    return keys if key == column else keys | {f"{side}s_id": key}


def _key_of_side(
    profiles: list[Profile], side: str, ids: pl.Series, where: str, column: str
) -> str:
    """Return the column with most ids of the log; of equals the best named one."""
    wanted = ids.drop_nulls().cast(pl.String).unique(maintain_order=True)
    best = ("", (0, 0))
    for candidate in profiles:
        if candidate.kind not in ("whole", "text"):
            continue
        values = candidate.values.cast(pl.String).unique().implode()
        held = int(wanted.is_in(values).sum())
        # A column of numbers such as a year may hold some ids by chance.
        unique = candidate.distinct == len(candidate.values)
        score = (held * (1 + unique), role_score(candidate.name, side))
        if held and score > best[1]:
            best = (candidate.name, score)
    if best[1][0]:
        return best[0]
    shown = ", ".join(f"{p.name} (such as {p.first()!r})" for p in profiles)
    raise InputError(
        f"{where}: no column holds the {side}s of the log's column {column!r} (such as "
        f"{wanted[0]!r}); its columns are: {shown}. Give the table of these {side}s, "
        f"or write the ids alike in both files"
    )


def _reason(column: Profile) -> str:
    """Return why a column describes nothing."""
    if column.kind == "moment":
        return "times are not a feature"
    if column.kind == "other":
        return "records are not a feature"
    if column.distinct < 2:
        return "it has one value"
    if column.kind == "comma":
        return column.decimal_comma()
    return f"nearly every row has its own {'text' if column.kind == 'text' else 'id'}"
