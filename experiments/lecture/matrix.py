"""The verdicts of all claims as tables: claims in rows, worlds and logs in columns.

A cell sums up the checks of its row that were made in its column.
"""

from collections.abc import Collection, Sequence

import polars as pl
from checks import CHECKS
from places import BY_LOG, LOG, PLACES

# Short names of the rows: a claim, or a variant of it with a verdict of its own.
ROWS = {
    ("L1", ""): "few items get the clicks",
    ("L2", ""): "uniform is unfair to cold items",
    ("L3", ""): "logQ repairs in-batch",
    ("L4", ""): "later stages are harder",
    ("L5", "no log q, softmax"): "hard negatives: no log q, softmax",
    ("L5", "no log q, bce"): "hard negatives: no log q, bce",
    ("L5", "log q of the mixture"): "hard negatives: log q of the mixture",
    ("L5", "log q of the easy negatives"): "hard negatives: log q of the easy ones",
    ("L5", "beside in-batch negatives"): "hard negatives: beside in-batch, log q",
    **{
        ("L5", f"log q {form}, {slots} slots"): f"hard negatives: {slots} slots, {name}"
        for form, name in (
            ("of the negatives", "mixture"),
            ("of all logits", "all logits"),
        )
        for slots in (8, 32, 128)
        if (form, slots) != ("of the negatives", 8)
    },
    ("L6", ""): "exposed negatives hurt",
    ("L6", "RecFlow"): "RecFlow: one rejected of 200 helps",
    ("L7", "down-sampling popular positives"): "down-sampling popular positives helps",
    ("L7", "up-sampling cold positives"): "up-sampling cold positives helps",
    ("L8", ""): "no log q in serving",
}
NOT_ASKED = "-"
HOLDS, DOES_NOT, OPEN = "holds", "does not hold", "cannot tell"
# Verdicts of a check that refute its claim; the third is one of version 0.1.
REFUTING = {"reversed", "equivalent", "no difference seen", "refuted"}
BY_TRUTH = [name for name, place in PLACES.items() if place.recall != LOG]
BY_LOGS = [name for name, place in PLACES.items() if place.recall == LOG]
LEGEND = f"""\
*holds*: every check of the row holds there. *does not hold*: a check is reversed, or
its arms are equivalent. *cannot tell*: neither. {NOT_ASKED}: not asked there. An
asterisk marks a cell for which only some of the row's checks were made. Checks of costs
decide no cell."""


def cell(verdicts: Collection[str], checks: int) -> str:
    """Verdict of a row in a place, from the verdicts of its checks.

    Args:
      verdicts: verdicts of the checks that were made there.
      checks: number of checks of the row; fewer verdicts are marked by an asterisk.

    Returns:
      "holds", "does not hold" or "cannot tell"; a dash without verdicts.
    """
    if not verdicts:
        return NOT_ASKED
    if REFUTING.intersection(verdicts):
        word = DOES_NOT
    else:
        word = HOLDS if set(verdicts) == {HOLDS} else OPEN
    return word if len(verdicts) == checks else f"{word} *"


def matrix(verdicts: pl.DataFrame, concentration: pl.DataFrame) -> str:
    """Two Markdown tables of cells, by the truth of the worlds and by logs.

    Args:
      verdicts: verdicts.csv, one row per check and place.
      concentration: concentration.csv, the verdicts of L1 per log.

    Returns:
      Markdown text with a legend.
    """
    cells = _l1(concentration) | _checked(verdicts)
    parts = [
        *("By the truth of the simulator:", _table(cells, BY_TRUTH)),
        *("By the clicks of a log:", _table(cells, BY_LOGS), LEGEND),
    ]
    return "\n\n".join(parts)


def _l1(concentration: pl.DataFrame) -> dict[tuple[str, str, str], str]:
    """Return the cells of L1, which is about the clicks of a log."""
    by_log = dict(concentration.select("where", "verdict").iter_rows())
    cells = {}
    for place in BY_LOGS:
        log = place.removesuffix(f", {BY_LOG}")
        names = [name for name in by_log if name.startswith("simulator, seed")]
        names = names if log == "default" else [log]
        ours = [by_log[name] for name in names if name in by_log]
        cells["L1", "", place] = cell(ours, len(names))
    return cells


def _checked(verdicts: pl.DataFrame) -> dict[tuple[str, str, str], str]:
    """Return the cells of L2 to L8, by claim, variant and place."""
    words = {
        (row["statement"], row["place"]): row["verdict"]
        for row in verdicts.iter_rows(named=True)
    }
    statements: dict[tuple[str, str], list[str]] = {}
    for check in CHECKS:
        if check.sign:
            key = (check.claim, check.variant)
            statements.setdefault(key, []).append(check.statement)
    return {
        (*key, place): cell(
            [words[one, place] for one in ours if (one, place) in words], len(ours)
        )
        for key, ours in statements.items()
        for place in PLACES
    }


def _table(cells: dict[tuple[str, str, str], str], places: Sequence[str]) -> str:
    """Return one Markdown table; a place where nothing was asked has no column."""
    asked = {place for (_, _, place), word in cells.items() if word != NOT_ASKED}
    places = [place for place in places if place in asked]
    heads = [place.removesuffix(f", {BY_LOG}").replace("_", " ") for place in places]
    lines = [f"| claim | {' | '.join(heads)} |", "|---|" + "---|" * len(places)]
    for (claim, variant), name in ROWS.items():
        row = [cells.get((claim, variant, place), NOT_ASKED) for place in places]
        lines.append(f"| **{claim}** {name} | {' | '.join(row)} |")
    return "\n".join(lines)
