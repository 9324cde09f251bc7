"""Judge the checks of `design.py` on runs.csv; write verdicts.csv, figure and tables.

    python experiments/lecture/verdicts.py

A world is the unit: its difference is the mean over its queries, and intervals are t
intervals over worlds (on a log, over seeds). Every check is judged at each common
temperature and at each arm's own: the best on validation of the other worlds, chosen
anew in each resample of them. A verdict needs one sign at every one of these.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from design import CHECKS, LOGS, TEMPERATURES, WORLDS, Check
from run import SCHEMA
from scipy import stats

from twotower_jax.study.statistics import holm

HERE = Path(__file__).parent
OWN = "own"
MARGIN = 0.02  # of the control's mean: the largest difference that is equivalent
SEEDS = 3
DRAWS = 2000


class Judged(NamedTuple):
    """A difference over worlds at one temperature, or at each arm's own.

    Attributes:
      at: the temperature, or "own".
      control, difference, low, high: means, and the 95 % t interval of the difference.
      low_90, high_90: the 90 % interval, of two one-sided tests at 5 %.
      p: two-sided p of the difference.
      worlds: number of worlds.
      note: values that were chosen at an end of the grid, for "own".
    """

    at: str
    control: float
    difference: float
    low: float
    high: float
    low_90: float
    high_90: float
    p: float
    worlds: int
    note: str = ""

    @property
    def equivalent(self) -> bool:
        """True if the 90 % interval lies within the margin."""
        bound = MARGIN * abs(self.control)
        return -bound < self.low_90 and self.high_90 < bound


class Table:
    """Means of runs by setting and arm: [values of the axis, worlds]."""

    def __init__(self, runs: pl.DataFrame):
        self._groups = {key: group for key, group in runs.group_by("setting", "arm")}

    def cells(
        self, setting: str, arm: str, metric: str
    ) -> tuple[list[float], list[int], np.ndarray]:
        """Values, worlds and means [values, worlds] of an arm; NaN where none ran."""
        group = self._groups.get((setting, arm))
        if group is None:
            return [], [], np.empty((0, 0))
        values = sorted(group["value"].unique())
        worlds = sorted(group["seed"].unique())
        out = np.full((len(values), len(worlds)), np.nan)
        for value, seed, mean in group.select("value", "seed", metric).iter_rows():
            out[values.index(value), worlds.index(seed)] = (
                np.nan if mean is None else mean
            )
        return values, worlds, out


def t_interval(
    differences: np.ndarray, error: float, level: float
) -> tuple[float, float]:
    """Interval of a mean over worlds with a standard error."""
    reach = float(stats.t.isf((1 - level) / 2, len(differences) - 1)) * error
    return float(differences.mean()) - reach, float(differences.mean()) + reach


def judged(
    at: str,
    arm: np.ndarray,
    control: np.ndarray,
    error: float | None = None,
    note: str = "",
) -> Judged | None:
    """The difference of two arms over the worlds that both have.

    Args:
      at: the temperature or "own".
      arm, control: [worlds] means; NaN where a world is missing.
      error: standard error of the mean difference; None: of the worlds alone.
      note: of the choice.
    """
    both = np.isfinite(arm) & np.isfinite(control)
    differences = (arm - control)[both]
    if len(differences) < SEEDS:
        return None
    error = float(stats.sem(differences)) if error is None else error
    error = max(error, 1e-12)
    mean = float(differences.mean())
    p = 2 * float(stats.t.sf(abs(mean) / error, len(differences) - 1))
    return Judged(
        at,
        float(control[both].mean()),
        mean,
        *t_interval(differences, error, 0.95),
        *t_interval(differences, error, 0.90),
        p,
        len(differences),
        note,
    )


def own_values(
    valid: np.ndarray, test: np.ndarray, held: np.ndarray, tune: np.ndarray
) -> np.ndarray:
    """Test means of worlds at the value that is best on validation of other worlds.

    Args:
      valid, test: [values, worlds] means.
      held: [n] worlds that are tested.
      tune: [m] worlds whose validation chooses; a tested one is left out.

    Returns:
      [n] means; NaN where fewer than three worlds are left to choose.
    """
    out = np.full(len(held), np.nan)
    for place, world in enumerate(held):
        others = tune[tune != world]
        if len(others) >= SEEDS:
            out[place] = test[np.argmax(valid[:, others].mean(axis=1)), world]
    return out


def at_own(
    table: Table, setting: str, check: Check, metrics: tuple[str, str]
) -> Judged | None:
    """The difference with each arm at its own value, and the noise of the choice.

    Worlds are resampled; in each resample both arms choose anew. The standard error is
    that of the resamples, widened by sqrt(W / (W - 1)).
    """
    cells = [
        (table.cells(setting, arm, "valid"), table.cells(setting, arm, metric))
        for arm, metric in zip((check.arm, check.control), metrics, strict=True)
    ]
    shared = sorted(set(cells[0][0][1]) & set(cells[1][0][1]))
    if len(shared) < SEEDS + 1:
        return None
    sides = []
    for (values, worlds, valid), (_, _, test) in cells:
        columns = [worlds.index(world) for world in shared]
        valid, test = valid[:, columns], test[:, columns]
        ran = np.isfinite(valid).all(axis=1)  # a value that ran in every world
        if not ran.any() or not np.isfinite(test[ran]).all():
            return None
        kept = [value for value, whole in zip(values, ran, strict=True) if whole]
        sides.append((kept, shared, valid[ran], test[ran]))
    number = len(shared)
    every = np.arange(number)
    arm, control = (
        own_values(valid, test, every, every) for _, _, valid, test in sides
    )
    rng, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = rng.integers(0, number, number)
        first, second = (
            own_values(valid, test, drawn, drawn) for _, _, valid, test in sides
        )
        kept = np.isfinite(first - second)
        if kept.any():
            draws.append(float((first - second)[kept].mean()))
    error = float(np.std(draws)) * float(np.sqrt(number / (number - 1)))
    ends = []
    for name, (values, _, valid, _) in zip(
        (check.arm, check.control), sides, strict=True
    ):
        best = values[int(np.argmax(valid.mean(axis=1)))]
        if len(values) > 1 and best in (values[0], values[-1]):
            ends.append(f"{name}: {best:g} is an end of its grid")
    return judged(
        OWN, arm, control, max(error, float(stats.sem(arm - control))), "; ".join(ends)
    )


def differences(
    table: Table, setting: str, check: Check, kind: str
) -> Iterator[Judged]:
    """Yield the differences of a check, at each common temperature and at own ones."""
    metric = check.metric if check.metric == "arp" else f"{kind}{check.metric}"
    first = table.cells(setting, check.arm, metric)
    second = table.cells(setting, check.control, metric)
    for value in TEMPERATURES:
        if value not in first[0] or value not in second[0]:
            continue
        shared = sorted(set(first[1]) & set(second[1]))
        rows = [
            cells[cells_values.index(value)][[cells_worlds.index(w) for w in shared]]
            for cells_values, cells_worlds, cells in (first, second)
        ]
        if (one := judged(f"{value:g}", *rows)) is not None:
            yield one
    if (one := at_own(table, setting, check, (metric, metric))) is not None:
        yield one


def verdict(ones: list[Judged], p_holm: float, sign: int | None) -> str:
    """The verdict of a check from its differences at all temperatures.

    Args:
      ones: the differences at each common temperature, then at each arm's own.
      p_holm: p of the last one, after Holm's correction over the checks of its family.
      sign: the prediction.

    Returns:
      "more" or "less" where the last is shown and all have its sign, "depends on the
      temperature" where it is shown and not all have, or where two common temperatures
      show other signs; "equivalent" where all are; else "cannot tell". Behind it, what
      became of the prediction. "end of its grid" where a better value of an arm's
      temperature may lie beyond those that ran.
    """
    *common, own = ones
    if own.at != OWN or len(common) < len(TEMPERATURES):
        return "not all runs"
    if own.note:
        return "end of its grid"
    signs = {one.difference > 0 for one in ones}
    shown = {one.difference > 0 for one in common if one.p < 0.05}
    if len(shown) == 2 or (p_holm < 0.05 and len(signs) == 2):
        return "depends on the temperature"
    if all(one.equivalent for one in ones):
        word = "equivalent"
    elif p_holm < 0.05:
        word = "more" if own.difference > 0 else "less"
    else:
        return "cannot tell"
    if sign is None:
        return word
    predicted = {1: "more", -1: "less", 0: "equivalent"}[sign]
    return f"{word}, {'as' if word == predicted else 'not as'} predicted"


def main() -> None:
    """Write verdicts.csv."""
    runs = pl.read_csv(HERE / "runs.csv", schema=SCHEMA)
    planned = pl.col("seed").is_in(WORLDS)
    # Worlds that were added after the first had been seen give no verdict.
    table = Table(runs.filter(planned))
    rows = []
    families: dict[str, list[Check]] = {}
    for check in CHECKS:  # a part of the map is a family, else a claim is one
        name = check.statement if check.claim == "L5" else check.claim
        families.setdefault(name, []).append(check)
    for setting in dict.fromkeys(s for check in CHECKS for s in check.settings):
        for kind in ("log",) if setting in LOGS else ("truth", "log"):
            for checks in families.values():
                rows += _family(table, setting, kind, checks)
    pl.DataFrame(rows).write_csv(HERE / "verdicts.csv")


def _family(
    table: Table, setting: str, kind: str, checks: list[Check]
) -> list[dict[str, object]]:
    """Return the rows of a family of checks in a setting, with Holm's correction."""
    found = [
        (check, ones)
        for check in checks
        if setting in check.settings
        and (ones := list(differences(table, setting, check, kind)))
    ]
    adjusted = holm(np.array([ones[-1].p for _, ones in found])) if found else []
    return [
        {
            "claim": check.claim,
            "part": check.statement,
            "setting": setting,
            "by": kind,
            "metric": check.metric or "all",
            "arm": check.arm,
            "control_arm": check.control,
            **one._asdict(),
            "p_holm": float(p),
            "verdict": verdict(ones, float(p), check.sign),
        }
        for (check, ones), p in zip(found, adjusted, strict=True)
        for one in ones
    ]


if __name__ == "__main__":
    main()
