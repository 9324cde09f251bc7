"""Frames as files of logs."""

import polars as pl

from twotower_jax.notebook.log import write_frame


def test_a_file_under_the_name_of_a_frame_holds_that_frame(tmp_path):
    frame, other = (pl.DataFrame({"user": [1, 2], "item": [3, n]}) for n in (4, 5))
    path = write_frame(frame, tmp_path)
    assert write_frame(other, tmp_path) != path
    other.write_parquet(path)
    assert write_frame(frame, tmp_path) == path
    assert pl.read_parquet(path).equals(frame)
