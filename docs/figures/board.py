"""The board of published cells: one sortable table, without network."""

import json
from html import escape

import polars as pl

from figures.questions import EXPERIMENTS

PAPERS = EXPERIMENTS / "papers"
HEADING = ("paper", "data", "method", "metric", "printed", "ours (95 %)", "verdict")
HEADING += ("seeds", "settings that differ", "minutes", "study")
# Sorts the table by the column of a heading, numbers as numbers.
SCRIPT = """
document.querySelectorAll('table.board th').forEach((head, column) => {
  head.style.cursor = 'pointer';
  head.onclick = () => {
    const body = head.closest('table').tBodies[0];
    const up = head.dataset.up = head.dataset.up === '1' ? '0' : '1';
    const value = row => row.cells[column].textContent;
    const order = (a, b) => value(a).localeCompare(value(b), 'en', {numeric: true});
    [...body.rows].sort((a, b) => (up === '1' ? 1 : -1) * order(a, b))
      .forEach(row => body.append(row));
  };
});
"""


def cells() -> list[list[str]]:
    """Return the rows of the board, folder by folder; the last cell is the folder."""
    rows = []
    for study in json.loads((PAPERS / "board.json").read_text(encoding="utf-8")):
        folder = PAPERS / study["folder"]
        table = pl.read_csv(folder / "cells.csv")
        for cell in table.iter_rows(named=True):
            ours = f"{cell['ours']:.4f} ({cell['low']:.4f} to {cell['high']:.4f})"
            if cell["low"] is None or cell["low"] != cell["low"]:
                ours = f"{cell['ours']:.4f}"
            rows.append(
                [
                    study["paper"],
                    study["data"],
                    cell["arm"],
                    cell["metric"],
                    f"{cell['value']:.4f}",
                    ours,
                    cell["verdict"],
                    str(cell["seeds"]),
                    study["differ"],
                    str(study["minutes"]),
                    study["folder"],
                ]
            )
    return rows


def gains() -> int:
    """Return the number of claimed gains that tuned studies gave a verdict."""
    number = 0
    for path in PAPERS.glob("*/gains.csv"):
        claimed = pl.read_csv(path)["arm"].to_list()
        tuned = PAPERS / f"{path.parent.name}_tuned" / "comparison.csv"
        if tuned.exists():
            table = pl.read_csv(tuned, infer_schema_length=10_000)
            words = table.filter(pl.col("arm").is_in(claimed), metric="recall@20")
            number += int((words["verdict"] != "untuned").sum())
    return number


def board() -> str:
    """Return the table as HTML, with a script that sorts it."""
    head = "".join(f"<th>{name}</th>" for name in HEADING)
    body = []
    for *row, folder in cells():
        texts = [escape(text) for text in row]
        texts.append(f'<a href="papers/{folder}.html">{folder}</a>')
        body.append("<tr>" + "".join(f"<td>{text}</td>" for text in texts) + "</tr>")
    return (
        '<div class="board"><table class="board"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"<script>{SCRIPT}</script>"
    )


def values() -> dict[str, str]:
    """Return the board and the three numbers above it."""
    rows = cells()
    reproduced = sum(row[6] == "reproduced" for row in rows)
    return {
        "table": board(),
        "tried": str(len(rows)),
        "reproduced": str(reproduced),
        "gains": str(gains()),
    }
