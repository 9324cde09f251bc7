"""The report of a sweep: its files and the tables on the console."""

from pathlib import Path

from twotower_jax.compiler import set_up
from twotower_jax.progress import make_console
from twotower_jax.report.console import print_study
from twotower_jax.report.html import write_report
from twotower_jax.report.objective import study_cards
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

# Name of the lock in the folder of a report, one writer at a time.
REPORT = "report"


def write_reports(
    folders: list[Path],
    given: Description | None = None,
    out: Path | None = None,
    *,
    objective: bool = True,
) -> None:
    """Write the report of the runs of folders into one folder, and print its tables."""
    out = out or folders[0]
    study = load_study(folders, given, out)
    cards = None
    if objective:
        set_up()
        cards = study_cards(study, out)
    path = write_report(study, out, cards)
    print_study(study, make_console(), path)
