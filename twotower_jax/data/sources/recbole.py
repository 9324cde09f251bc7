"""RecBole's atomic files: NAME.inter with interactions, NAME.user, NAME.item.

The first line names each column and its type, ``user_id:token``; the types are token,
token_seq, float and float_seq; the columns are separated by tabs, sequences by blanks.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.sources.files import need_columns, need_folder, read_fields
from twotower_jax.data.sources.table import canonical, check_meaning, stack
from twotower_jax.errors import InputError

HINT = "NAME.inter and perhaps NAME.user and NAME.item"
TYPES = ("token", "token_seq", "float", "float_seq")
# Ends of the names of files that are parts: RecBole's benchmark_filename.
PARTS = {"train": 0, "part1": 0, "valid": 1, "part2": 1, "test": 2, "part3": 2}
TIME, RATING = "timestamp", "rating"


def _read(path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the columns of an atomic file as text or null, and the type of each."""
    frame = read_fields(path, "\t", header=True)
    types = {}
    for head in frame.columns:
        name, colon, kind = head.rpartition(":")
        if not colon or not name or kind not in TYPES:
            raise InputError(
                f"{path}: the header has {head!r} instead of 'name:type'; give a "
                f"type of: {', '.join(TYPES)}"
            )
        if name in types:
            raise InputError(
                f"{path}: the header names {name!r} twice; give one another name"
            )
        types[name] = kind
    frame = frame.rename(dict(zip(frame.columns, types, strict=True)))
    return frame.with_columns(pl.all().replace("", None)), types


def _inter_files(
    folder: Path,
) -> tuple[dict[str, Path], dict[str, dict[int, Path]]]:
    """Return the whole file of each data set of a folder, and the file of each part."""
    whole: dict[str, Path] = {}
    parts: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*.inter")):
        name, _, end = path.stem.rpartition(".")
        if name and end in PARTS:
            if PARTS[end] in parts.setdefault(name, {}):
                raise InputError(
                    f"data.path={str(folder)!r} holds {path.name!r} and "
                    f"{parts[name][PARTS[end]].name!r}, the same part; keep one"
                )
            parts[name][PARTS[end]] = path
        else:
            whole[path.stem] = path
    return whole, parts


def _interactions(folder: Path, split: str) -> tuple[str, dict[int, Path]]:
    """Return the name of the data set, and the file of each part.

    Of a folder with parts and a whole file, the parts are read for data.split=given,
    else the whole file.
    """
    whole, parts = _inter_files(folder)
    names = sorted({*whole, *parts})
    if folder.name in names:
        names = [folder.name]
    if len(names) != 1:
        content = f"several: {', '.join(names)}" if names else "none"
        raise InputError(
            f"data.path={str(folder)!r} must hold the files of one data set, "
            f"NAME.inter or NAME.train.inter and NAME.test.inter, and holds {content}; "
            f"give the folder with {HINT}"
        )
    (name,) = names
    if name in whole and (split != "given" or name not in parts):
        return name, {0: whole[name]}
    if 0 not in parts[name]:
        raise InputError(
            f"data.path={str(folder)!r} holds {name}'s parts without "
            f"{name}.train.inter; give it too"
        )
    return name, parts[name]


def _resolve(config: DataConfig, types: dict[str, str]) -> DataConfig:
    """Return the configuration with RecBole's names for columns that it does not name.

    Times are in a column `timestamp`, if it exists; ratings are used only with
    data.min_rating, and are in a column `rating`.
    """
    columns = config.columns
    if columns.time is None and TIME in types:
        columns = replace(columns, time=TIME)
    named = columns.clicked or columns.rating or columns.stage
    if config.min_rating is not None and not named and RATING in types:
        columns = replace(columns, rating=RATING)
    return replace(config, columns=columns)


def _features(
    path: Path, key: str, side: str
) -> tuple[SideTable | None, dict[str, int]]:
    """Return the features of one side, and the number of columns left out."""
    if not path.exists():
        return None, {}
    where, vectors = str(path), 0
    frame, types = _read(path)
    need_columns(frame, {f"data.columns.{side}": key}, where)
    ids = parse.to_ids(frame[key], where, key)
    out: dict[str, pl.Series] = {side: parse.text_to_ids(ids)}
    for name, kind in types.items():
        if name == key:
            continue
        values = frame[name]
        if kind == "float":
            out[name] = parse.to_number(values, where, name, required=False)
        elif kind == "token_seq":
            out[name] = values.str.extract_all(r"\S+")
        elif kind == "token":
            out[name] = values
        else:
            vectors += 1
    dropped = {f"columns of {path.name} with vectors (float_seq)": vectors}
    table = SideTable(pl.DataFrame(out), where=where)
    return table, dropped if vectors else {}


def load(config: DataConfig) -> FunnelLog:
    """Log of a folder of atomic files; columns have the meaning of those of a table.

    ``data.columns.*`` name columns without their type. NAME.user and NAME.item, if they
    exist, hold features, by type: token (categorical), token_seq (multi), float
    (numeric); float_seq is left out and counted. Other columns of NAME.inter and other
    files are not used.
    """
    folder = need_folder(config.path, "data.path", HINT)
    name, files = _interactions(folder, config.split)
    tables = {part: _read(path) for part, path in files.items()}
    config = _resolve(config, tables[0][1])
    check_meaning(config.columns, config.min_rating)
    frames = [
        canonical(frame, str(files[part]), part, config)
        for part, (frame, _) in sorted(tables.items())
    ]
    log = stack(frames)
    users, items = (folder / f"{name}.{side}" for side in ("user", "item"))
    user_table, user_vectors = _features(users, config.columns.user, "user")
    item_table, item_vectors = _features(items, config.columns.item, "item")
    return build_log(
        log.drop("part") if len(files) == 1 else log,
        where=str(folder),
        users=user_table,
        items=item_table,
        dropped=user_vectors | item_vectors,
    )
