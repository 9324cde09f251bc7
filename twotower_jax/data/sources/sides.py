"""Features of users and items: of a file of their own, or columns of the log."""

import polars as pl

from twotower_jax.config.data import DataConfig
from twotower_jax.data import parse
from twotower_jax.data.build import SideTable
from twotower_jax.data.sources.files import need_columns, need_file, read_table
from twotower_jax.data.sources.layout import Layout
from twotower_jax.data.vectors import to_vectors
from twotower_jax.errors import InputError

SIDES = {"user": "query_features", "item": "candidate_features"}


def features_of(
    frame: pl.DataFrame, side: str, config: DataConfig, where: str
) -> dict[str, pl.Series]:
    """Feature columns of one side, with numbers and vectors parsed."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    need_columns(frame, {f"data.{SIDES[side]}.{n}": n for n in kinds}, where)
    out = {name: frame[name] for name in kinds}
    for name, kind in kinds.items():
        if kind == "numeric":
            out[name] = parse.to_number(frame[name], where, name, required=False)
        elif kind == "vector":
            out[name] = to_vectors(frame[name], where, name)
    return out


def read_side(side: str, config: DataConfig) -> tuple[pl.DataFrame, str]:
    """Table of the features of one side, and the name of its column of ids."""
    path = need_file(getattr(config, f"{side}s_path"), f"data.{side}s_path")
    frame = read_table(path, Layout(config.separator))
    own = getattr(config, f"{side}s_id")
    key = own or getattr(config.columns, side)
    named = f"data.{side}s_id" if own else f"data.columns.{side}"
    need_columns(frame, {named: key}, str(path))
    return frame, key


def side_table(first: pl.DataFrame, side: str, config: DataConfig) -> SideTable | None:
    """Features of one side, from their own file or from the log; None without any."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    path = getattr(config, f"{side}s_path")
    if not kinds:
        if path is not None:
            raise InputError(
                f"data.{side}s_path={path!r} is set and data.{SIDES[side]} names no "
                "feature of it; name its columns there, as {column: kind}"
            )
        return None
    if path is None:
        columns = (pl.col(f"{side}:{name}").alias(name) for name in kinds)
        return SideTable(first.select(pl.col(side), *columns), kinds)
    frame, key = read_side(side, config)
    ids = parse.text_to_ids(parse.to_ids(frame[key], str(path), key))
    features = features_of(frame, side, config, str(path))
    return SideTable(pl.DataFrame({side: ids, **features}), kinds, str(path))
