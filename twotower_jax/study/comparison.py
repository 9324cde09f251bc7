"""Comparison of the arms of a study to reference arms, paired by seed and query."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from twotower_jax.data.text_files import write_text
from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.pairing import Pairing, measure
from twotower_jax.study.statistics import Difference
from twotower_jax.study.verdicts import MARGIN, Judgement, Rules, judge

COLUMNS = {
    "arm": pl.String,
    "base": pl.String,
    "metric": pl.String,
    "mean": pl.Float64,
    "base_mean": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "smallest_visible": pl.Float64,
    "seeds": pl.Int64,
    "queries": pl.Int64,
    "interval_over": pl.String,
    "low_90": pl.Float64,
    "high_90": pl.Float64,
    "low_family": pl.Float64,
    "high_family": pl.Float64,
    "low_verdict": pl.Float64,
    "high_verdict": pl.Float64,
    "verdict": pl.String,
}
# Columns of the comparison to the control in comparison.csv, by those of COLUMNS.
COMPARED = ("difference", "low", "high", "p", "p_holm", "low_90", "high_90")
COMPARED += ("low_family", "high_family", "low_verdict", "high_verdict", "verdict")
CONTROLLED = {
    "base": "control",
    "base_mean": "control_mean",
    **{name: f"control_{name}" for name in COMPARED},
}


def compare_arms(
    pairing: Pairing,
    metrics: Sequence[str],
    references: Mapping[str, str],
    margin: float = MARGIN,
    withheld: Callable[[str, str], str] = lambda arm, reference: "",
) -> pl.DataFrame:
    """Comparison of arms, each to a reference arm."""
    measured, rows = measure(pairing, metrics, references), []
    for metric in metrics:
        differences = [
            measured[metric, *pair]._replace(tests=len(references))
            for pair in references.items()
        ]
        rules = [Rules(margin, withheld(*pair)) for pair in references.items()]
        judged = judge(differences, rules, larger_is_better(metric))
        for pair, one, judgement in zip(
            references.items(), differences, judged, strict=True
        ):
            rows.append((*pair, metric, *_cells(one, judgement)))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _cells(one: Difference, judged: Judgement) -> tuple[float | int | str, ...]:
    """Return the values of COLUMNS after the metric."""
    return (
        *(one.mean, one.base_mean, one.difference, one.interval.low, one.interval.high),
        *(judged.p, judged.p_holm, one.smallest, one.seeds, one.queries, one.over),
        *(*one.equivalence_interval, *judged.joint, *judged.ends, judged.word),
    )


def write_comparison(
    comparison: pl.DataFrame, controlled: pl.DataFrame, folder: str | Path
) -> Path:
    """Write comparison.csv: each arm against the base, and against its control."""
    keys = ["arm", "metric"]
    beside = controlled.select(*keys, *CONTROLLED).rename(CONTROLLED)
    table = comparison.join(beside, on=keys, how="left", maintain_order="left")
    return write_text(Path(folder) / "comparison.csv", table.write_csv())
