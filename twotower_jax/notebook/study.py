"""The study of a folder of runs: its table, its figure and its best arm."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from twotower_jax.errors import InputError, closest
from twotower_jax.study.answer import answer, best_arm
from twotower_jax.study.cautions import cautions
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study
from twotower_jax.study.tables import main_split, rank_arms, summary
from twotower_jax.study.verdicts import interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("arm", "mean", "difference", "low", "high", "verdict", "seeds")


class Study:
    """Arms of one log, compared by one metric.

    Attributes:
      folder: of the runs and of the report.
      metric: the primary metric.
      base: the arm that the others are compared with.
      answer: the answer in one sentence, as in the report.
      cautions: what weakens the study, one sentence each.
    """

    def __init__(self, folder: str | Path, metric: str | None = None):
        """Read the finished runs of a folder.

        Args:
          folder: of `compare`, or of a sweep.
          metric: the primary metric; None: that of the folder's study.json, else
            recall@20.

        Raises:
          InputError: no finished run, or a metric that no run has.
        """
        self.folder = Path(folder)
        self._study = load_study([folder], Description(metric=metric))
        self.metric, self.base = self._study.metric, self._study.base
        self.answer, self.cautions = answer(self._study), cautions(self._study)

    @property
    def table(self) -> pl.DataFrame:
        """The arms, best mean first.

        Columns ``arm``, ``mean`` of the metric over seeds, ``difference`` to the base
        arm, ``low`` and ``high`` (the interval that decides the verdict: of 95 % for
        all differences together, or of 90 % beside "equivalent"), ``verdict`` ("base"
        for the base arm) and ``seeds``.
        """
        study = self._study
        compared = study.comparison.filter(pl.col("metric") == self.metric)
        compared = compared.select(
            *("arm", "difference", "verdict"), low="low_verdict", high="high_verdict"
        )
        means = summary(study.table, [self.metric], main_split(study.table))
        arms = pl.DataFrame({"arm": rank_arms(study.table, self.metric)})
        for frame in (means.drop("metric", "sd"), compared):
            arms = arms.join(frame, on="arm", how="left", maintain_order="left")
        base = pl.when(pl.col("arm") == self.base).then(pl.lit("base"))
        return arms.with_columns(verdict=base.otherwise("verdict")).select(COLUMNS)

    @property
    def best(self) -> str | None:
        """Name of the arm that the verdicts put above all others.

        None where an other arm is not told apart from the best mean: too few seeds,
        arms that were not tuned alike, or too small a difference. Baselines and the
        full softmax are not among the arms.
        """
        return best_arm(self._study)

    @property
    def report(self) -> Path:
        """Path of report.html."""
        return self.folder / "report.html"

    def plot(self) -> "Figure":
        """Figure of the differences to the base arm with their intervals.

        Returns:
          The figure of the report, for ``savefig`` or for display.

        Raises:
          InputError: no arm has an interval.
        """
        from twotower_jax.report.figures import difference_figure

        return difference_figure(self._study)

    def by(self, metric: str) -> "Study":
        """The same runs compared by another metric, without any training.

        Args:
          metric: such as ``ndcg@20``, or ``true_recall@20`` on the simulator.

        Raises:
          InputError: a metric that no run has.
        """
        return Study(self.folder, metric)

    def run(self, arm: str | None = None, seed: int = 0) -> Path:
        """Folder of a run, for `twotower_jax.load_model`.

        Args:
          arm: name in the table; None: the arm with the best mean.
          seed: of the run.

        Raises:
          InputError: an arm or seed without a finished run.
        """
        arms = self._study.pairing.arms
        arm = arm or rank_arms(self._study.table, self.metric)[0]
        if arm not in arms:
            near = closest(arm, arms)
            raise InputError(
                f"arm={arm!r} has no finished run{f' ({near})' if near else ''}; "
                f"choose of {', '.join(map(repr, arms))}"
            )
        if seed not in arms[arm]:
            seeds = ", ".join(map(str, sorted(arms[arm])))
            raise InputError(f"seed={seed}: {arm!r} has the seeds {seeds}; give one")
        return arms[arm][seed].path

    def __repr__(self) -> str:
        rows = [" | ".join(cells) for cells in self._cells()]
        return "\n".join([self.answer, *rows, *self.cautions, str(self.report)])

    def _repr_html_(self) -> str:
        """Return the answer, the table and the cautions for a notebook."""
        from twotower_jax.report.page import box, note

        heads, *rows = self._cells()
        notes = [note(text) for text in self.cautions]
        report = f'<p class="soft">{escape(str(self.report))}</p>'
        parts = [note(self.answer, "question"), *box(heads, rows, (0,)), *notes, report]
        return "\n".join(parts)

    def _cells(self) -> list[list[str]]:
        """Return the headings and the rows of the table as texts."""
        rows = [["arm", self.metric, "difference", "interval", "verdict"]]
        for row in self.table.rows(named=True):
            mean, difference = (row["mean"], ".4f"), (row["difference"], "+.4f")
            numbers = ["-" if v is None else f"{v:{f}}" for v, f in (mean, difference)]
            ends = {"low_verdict": row["low"], "high_verdict": row["high"]}
            verdict = row["verdict"] or "-"
            rows.append([row["arm"], *numbers, interval(row | ends), verdict])
        return rows
