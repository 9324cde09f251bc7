"""Positives in the format of LightGCN: one line per user, ``user item item ...``."""

from pathlib import Path

import polars as pl

from twotower_jax.data.build import build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.sources.files import (
    decode_lines,
    need_folder,
    need_in_folder,
    need_whole,
)
from twotower_jax.errors import InputError

HINT = "train.txt, test.txt and optionally valid.txt"


def _read(path: Path, part: int) -> pl.DataFrame:
    """Return columns user and item (int64) and part, one row per item."""
    text = pl.Series("token", decode_lines(path), dtype=pl.String)
    lines = pl.DataFrame({"token": text.str.extract_all(r"\S+")})
    tokens = lines.with_row_index("line", offset=1).explode("token").drop_nulls()
    need_whole(path)
    ids = tokens["token"].cast(pl.Int64, strict=False)
    bad = ids.is_null().arg_true()
    if len(bad):
        line, token = tokens.row(int(bad[0]))
        raise InputError(
            f"{path}: line {line}: {token!r} is not an integer; give 'user item item "
            "...' as integers separated by blanks"
        )
    tokens = tokens.select("line", id=ids)
    head = pl.col("line").is_first_distinct()
    rows = tokens.select(
        user=pl.col("id").first().over("line"), item=pl.col("id"), head=head
    )
    return rows.filter(~pl.col("head")).select(
        "user", "item", part=pl.lit(part, dtype=pl.Int8)
    )


def load(config: DataConfig) -> FunnelLog:
    """Log of train.txt (part 0), valid.txt if it exists (1) and test.txt (2)."""
    folder = need_folder(config.path, "data.path", HINT)
    frames = [_read(need_in_folder(folder, "train.txt", HINT), 0)]
    if (folder / "valid.txt").exists():
        frames.append(_read(folder / "valid.txt", 1))
    frames.append(_read(need_in_folder(folder, "test.txt", HINT), 2))
    return build_log(pl.concat(frames), where=str(folder))
