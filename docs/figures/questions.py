"""Tables and figures of the questions in docs/results, from the runs of experiments."""

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from figures.style import COLOURS, INK, STYLE, axes

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
LECTURE = EXPERIMENTS / "lecture"
sys.path.insert(0, str(LECTURE))
# By setting, and whether the truth or the log measures.
PLACES = {
    ("default", "truth"): "simulator, truth",
    ("default", "log"): "simulator, log",
    ("movielens", "log"): "MovieLens small",
    ("toys", "log"): "Amazon Toys",
    ("wikispeedia", "log"): "Wikispeedia",
    ("gowalla", "log"): "Gowalla",
    ("yelp2018", "log"): "Yelp2018",
}
HEADING = ["where", "control", "difference (95 %)", "verdict", "seeds", "oracle"]
SHARES = {"0.25": "a quarter", "0.5": "half", "0.75": "three quarters", "1": "all"}


class Row(NamedTuple):
    """An arm against its control."""

    where: str
    control: float
    difference: float
    low: float
    high: float
    verdict: str
    seeds: int
    oracle: float | None = None

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        interval = f"{self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f})"
        oracle = "" if self.oracle is None else f"{self.oracle:.4f}"
        word = self.verdict.partition(",")[0]
        return [
            self.where,
            f"{self.control:.4f}",
            interval,
            word,
            str(self.seeds),
            oracle,
        ]


@functools.cache
def verdicts() -> pl.DataFrame:
    """Return the verdicts of each arm at its own temperature."""
    return pl.read_csv(LECTURE / "verdicts.csv").filter(pl.col("at") == "own")


@functools.cache
def runs() -> pl.DataFrame:
    """Return the runs of the claims, worlds that were added later left out."""
    from run import SCHEMA

    table = pl.read_csv(LECTURE / "runs.csv", schema=SCHEMA)
    return table.filter(pl.col("seed") <= 5)


def best(setting: str, arm: str, by: str) -> float | None:
    """Return the mean of an arm at the value that is best on validation."""
    means = (
        runs()
        .filter(setting=setting, arm=arm)
        .group_by("value")
        .agg(pl.col("valid", by).mean(), pl.len())
    )
    means = means.filter(pl.col("len") == pl.col("len").max()).sort("valid", "value")
    return float(means[by][-1]) if len(means) else None


def of_part(
    part: str, metric: str = "all", where: str = "{place}", by: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a check in every place."""
    for (setting, measure), place in PLACES.items():
        found = verdicts().filter(part=part, setting=setting, by=measure, metric=metric)
        if by not in (None, measure):
            continue
        for row in found.iter_rows(named=True):
            yield _row(row, where.format(place=place))


def _row(row: dict, where: str) -> Row:
    oracle = None
    if row["metric"] == "all" and row["setting"] in {s for s, _ in PLACES}:
        oracle = best(row["setting"], "full softmax", row["by"])
    numbers = (row[name] for name in ("control", "difference", "low", "high"))
    return Row(where, *numbers, row["verdict"], row["worlds"], oracle)


def of_arm(name: str, where: str, setting: str = "default", by: str = "truth") -> Row:
    """Return the row of an arm of slots."""
    arm = f"{name}, sampled_softmax, alone"
    found = verdicts().filter(arm=arm, setting=setting, by=by, metric="all")
    return _row(next(found.iter_rows(named=True)), where)


def of_study(name: str, metric: str, arms: dict[str, str]) -> Iterator[Row]:
    """Yield the rows of a published study: {arm: where}."""
    table = pl.read_csv(
        EXPERIMENTS / "papers" / name / "comparison.csv", infer_schema_length=10_000
    )
    full = table.filter(metric=metric, arm="full softmax")["mean"]
    oracle = float(full[0]) if len(full) else None
    for arm, where in arms.items():
        (row,) = table.filter(metric=metric, arm=arm).iter_rows(named=True)
        numbers = (row[key] for key in ("base_mean", "difference", "low", "high"))
        yield Row(where, *numbers, row["verdict"], row["seeds"], oracle)


# --- the questions --------------------------------------------------------------------


def log_q() -> list[Row]:
    """Return log q in training, and in serving."""
    return [
        *of_part("logQ finds more than no correction", where="training: {place}"),
        *of_part("serving with log q finds less", where="serving too: {place}"),
    ]


def kinds() -> list[Row]:
    """Return uniform negatives against in-batch ones with log q."""
    mixed = {"in-batch + 256 uniform": "256 uniform beside a batch: simulator, log"}
    toys = {
        "in-batch + logQ": "in-batch + logQ against 256 uniform: Toys, sequences",
        "in-batch + 256 uniform + logQ": "both against 256 uniform: Toys, sequences",
    }
    return [
        *of_part("as many uniform negatives, uncorrected", where="uniform: {place}"),
        *of_study("mns", "recall@20", mixed),
        *of_study("esasrec_tuned", "recall@20", toys),
    ]


def popular() -> list[Row]:
    """Return negatives drawn by clicks^.75 against uniform ones."""
    tail = "alpha .75 finds more tail items than uniform"
    return [
        *of_part("cost over all items: alpha .75", where="all items: {place}"),
        *of_part(tail, "/tail", "tail: {place}"),
    ]


def number() -> list[Row]:
    """Return more uniform slots against 16, in the default world by the truth."""
    from design import Check, slots
    from verdicts import OWN, Table, differences, verdict

    sixteen, table = slots("both rejects", 0)[0], Table(runs())
    arms = {
        f"{n} uniform slots": slots("both rejects", 0, number=n)[0] for n in (32, 128)
    }
    arms |= {"255 uniform columns": "uniform, no log q"}
    arms |= {"255 in-batch, log q": "in-batch + logQ"}
    rows = []
    for where, arm in arms.items():
        for by in ("truth", "log"):
            check = Check("", where, arm, sixteen, "", None, ("default",))
            found = list(differences(table, "default", check, by))
            own = found[-1]
            assert own.at == OWN  # noqa: S101
            word = verdict(found, own.p, None)
            place = PLACES["default", by]
            numbers = own.control, own.difference, own.low, own.high
            rows.append(
                Row(
                    f"{where}: {place}",
                    *numbers,
                    word,
                    own.worlds,
                    best("default", "full softmax", by),
                )
            )
    return rows


def hard() -> list[Row]:
    """Return slots of rejected items against uniform slots."""
    rows = []
    for share, words in SHARES.items():
        name = f"16 slots, {share} pre-ranking rejects, no log q"
        rows.append(of_arm(name, f"{words} pre-ranking rejects"))
    for kind, where in (("ranking", "half ranking rejects"), ("both", "half of both")):
        rows.append(of_arm(f"16 slots, 0.5 {kind} rejects, no log q", where))
    half = "16 slots, 0.5 pre-ranking rejects"
    rows.append(of_arm(f"{half}, log q of the mixture", "half, log q of the mixture"))
    rows.append(of_arm(f"{half}, no log q", "half: a good funnel", "good funnel"))
    rows.append(of_arm(f"{half}, no log q", "half: a bad funnel", "bad funnel"))
    rows.append(of_arm(f"{half}, no log q", "half: by the log", by="log"))
    return rows


def shown() -> list[Row]:
    """Return slots of shown items that were not clicked."""
    rows: list[Row] = []
    for share, words in {"0.0625": "1 in 16", **SHARES}.items():
        rows += of_part(f"{share} shown, no log q", where=f"{words}: {{place}}")
    return rows


def positives() -> list[Row]:
    """Return resampled positives."""
    down, up = "down-sampling popular positives", "up-sampling cold positives"
    return [
        *of_part(f"cost over all items: {down}", where="hot down: {place}"),
        *of_part(f"cost over all items: {up}", where="cold up: {place}"),
        *of_part(f"{down} finds more tail items", "/tail", "hot down, tail: {place}"),
    ]


# Losses that were tuned alike in a study, by its folder and its data.
TUNED = {
    ("sl_at_k_tuned", "Amazon Health"): "full softmax;PSL;SL@20;BSL;BPR",
    ("sl_at_k_gowalla_tuned", "Gowalla, random split"): "PSL;SL@20;BSL;BPR",
    ("bsl_tuned", "Gowalla"): "BSL",
    ("bsl_yelp_tuned", "Yelp2018"): "BSL",
    ("esasrec_tuned", "Toys, sequences"): (
        "full softmax;BCE of 256, offset;gBCE of 256, offset;BCE of 1"
    ),
}


def losses() -> list[Row]:
    """Return losses against a softmax, all tuned alike."""
    rows: list[Row] = []
    for (name, place), arms in TUNED.items():
        named = {arm: f"{arm}: {place}" for arm in arms.split(";")}
        rows += of_study(name, "recall@20", named)
    return rows


FORESTS = {
    "log_q": log_q,
    "kinds": kinds,
    "popular": popular,
    "number": number,
    "hard": hard,
    "shown": shown,
    "positives": positives,
    "losses": losses,
}


def temperature() -> list[list[str]]:
    """Return what the temperature decides, beside what log q decides."""
    rows = []
    for (setting, by), place in PLACES.items():
        means = {
            arm: dict(
                runs()
                .filter(setting=setting, arm=arm)
                .group_by("value")
                .agg(pl.col(by).mean())
                .iter_rows()
            )
            for arm in ("in-batch + logQ", "in-batch, no log q")
        }
        corrected = {t: m for t, m in means["in-batch + logQ"].items() if m is not None}
        top = max(corrected, key=lambda t: corrected[t])
        common = {t: corrected[t] for t in (0.1, 0.2, 0.4) if t in corrected}
        gain = corrected[top] - max(means["in-batch, no log q"].values())
        rows.append(
            [
                place,
                f"{top:g}",
                f"{corrected[top]:.4f}",
                f"{max(common.values()) - min(common.values()):.4f}",
                f"{gain:.4f}",
            ]
        )
    return rows


def baselines() -> list[list[str]]:
    """Return towers beside baselines, each at the value best on validation."""
    arms = ("in-batch + logQ", "full softmax", "iALS", "EASE", "item-kNN")
    rows = []
    for (setting, by), place in PLACES.items():
        values = [best(setting, arm, by) for arm in arms]
        rows.append([place, *("not run" if v is None else f"{v:.4f}" for v in values)])
    return rows


def claims() -> str:
    """Return the eight claims with their verdicts, counted over checks and places."""
    path = Path(__file__).with_name("claims.json")
    rows = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        name, by_truth, by_log = entry["claim"][:2], [], []
        if name == "L1":
            by_truth, by_log = ([text] for text in _concentration())
        if name == "L4":
            by_truth, by_log = [_ladder()], ["not measured"]
        for part, before in entry["checks"].items():
            found = verdicts().filter(claim=name, part=part)
            if name == "L5":  # half of 16 slots, of the lecture's own items
                half = pl.col("arm").str.contains(r"^16 slots, 0\.5 (pre-r|r|b)")
                found = found.filter(half)
            by_truth.append(before + _count(found.filter(by="truth")))
            by_log.append(before + _count(found.filter(by="log")))
        texts = "; ".join(by_truth), "; ".join(by_log)
        rows.append([entry["claim"], entry["reason"], *texts, entry["line"]])
    heading = ["claim", "the lecture's reason", "by truth", "by logs", "in one line"]
    return table(heading, rows)


def _ladder() -> str:
    """Return in how many worlds each stage is harder than the one before."""
    from pages import ladder

    cells = {line.split(" | ")[-1].strip(" |") for line in ladder().splitlines()[2:]}
    return " and ".join(f"holds in {cell} worlds" for cell in sorted(cells))


def _concentration() -> tuple[str, str]:
    """Return the share of clicks that the top tenth of items takes."""
    table = pl.read_csv(LECTURE / "concentration.csv")
    named = pl.col("where").is_in(["movielens", "gowalla", "wikispeedia"])
    texts = []
    for kept in (pl.col("where").str.starts_with("simulator"), named):
        shares = table.filter(kept)["top 10 %"]
        texts.append(f"{shares.min():.0%} to {shares.max():.0%} on a tenth of items")
    return texts[0], texts[1]


def _count(found: pl.DataFrame) -> str:
    words = found["verdict"].str.split(",").list.first().value_counts(sort=True)
    return ", ".join(f"{word} {number}" for word, number in words.iter_rows())


def table(heading: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def values() -> dict[str, str]:
    """Return the tables by question."""
    made = {
        name: table(HEADING, [row.cells() for row in rows()])
        for name, rows in FORESTS.items()
    }
    heading = ["where", "best temperature", "recall there"]
    heading += ["range over .1, .2, .4", "gain of log q"]
    made["temperature"] = table(heading, temperature())
    heading = ["where", "in-batch + logQ", "full softmax", "iALS", "EASE", "item-kNN"]
    made["baselines"] = table(heading, baselines())
    made["claims"] = claims()
    return made


def draw(name: str) -> Figure:
    """Return the figure of a question."""
    if name == "temperature":
        return _curves()
    if name == "baselines":
        return _points()
    rows = FORESTS[name]()
    of_axes = axes("difference to the control", "", height=0.8 + 0.27 * len(rows))
    of_axes.axvline(0, color=INK, linewidth=1)
    words = [row.verdict.partition(",")[0] for row in rows]
    known = {"more": 2, "better": 2, "less": 1, "worse": 1}
    for place, (row, word) in enumerate(zip(rows, words, strict=True)):
        colour = COLOURS[known.get(word, 6)]
        of_axes.plot([row.low, row.high], [place, place], color=colour)
        of_axes.plot(row.difference, place, "o", color=colour, markersize=5)
    of_axes.set_yticks(np.arange(len(rows)), [row.where for row in rows], fontsize=9)
    of_axes.invert_yaxis()
    return of_axes.figure  # type: ignore[return-value]


def _curves() -> Figure:
    of_axes = axes("temperature", "true_recall@20", log="x")
    for arm in ("in-batch + logQ", "uniform, no log q", "in-batch, no log q"):
        means = runs().filter(setting="default", arm=arm)
        means = means.group_by("value").agg(pl.col("truth").mean()).sort("value")
        of_axes.plot(means["value"], means["truth"], "o-", label=arm)
    with mpl.rc_context(STYLE):
        of_axes.legend(fontsize=9)
    # Powers of ten overlap on an axis of less than two decades.
    ticks = [value for value in means["value"] if value is not None]
    of_axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    of_axes.set_xticks([], minor=True)
    of_axes.set_ylim(0)
    return of_axes.figure  # type: ignore[return-value]


def _points() -> Figure:
    rows = baselines()
    of_axes = axes(
        "recall relative to in-batch + logQ", "", height=0.8 + 0.4 * len(rows)
    )
    names = ("full softmax", "iALS", "EASE", "item-kNN")
    for colour, (column, name) in zip(COLOURS[1:], enumerate(names, 2), strict=False):
        kept = [(i, row) for i, row in enumerate(rows) if row[column] != "not run"]
        shares = [float(row[column]) / float(row[1]) for _, row in kept]
        of_axes.plot(shares, [i for i, _ in kept], "o", color=colour, label=name)
    of_axes.axvline(1, color=INK, linewidth=1)
    of_axes.set_yticks(np.arange(len(rows)), [row[0] for row in rows], fontsize=9)
    of_axes.invert_yaxis()
    with mpl.rc_context(STYLE):
        of_axes.legend(fontsize=9)
    return of_axes.figure  # type: ignore[return-value]
