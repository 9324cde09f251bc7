"""Tables and figure of the lecture's claims, from runs.csv and verdicts.csv.

    python experiments/lecture/pages.py

Writes the tables between the marks of README.md here, of docs/index.md and of the
project's README.md, and figure_hardness.svg.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from design import (
    CHECKS,
    FUNNELS,
    LOGS,
    OLD,
    REJECTS,
    STAGES,
    WORLDS,
    arms_of,
    slots,
)
from run import SCHEMA
from scipy.stats import kendalltau, spearmanr
from verdicts import OWN, Table, differences, own_values

from twotower_jax.study.statistics import holm

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))
from collect import insert  # noqa: E402

BY = ("truth", "log")
LOGQ = "logQ finds more than no correction"
PAGES = (HERE / "README.md", ROOT / "README.md", ROOT / "docs" / "index.md")
SIXTEEN = {
    "16 uniform slots": slots("both rejects", 0)[0],
    "a quarter of them pre-ranking rejects": slots("pre-ranking rejects", 0.25)[0],
    "half of them rejects of both stages": slots("both rejects", 0.5)[0],
    "half of them shown, not clicked": slots("shown, not clicked", 0.5)[0],
}
# Name in the table, arm, negatives a row.
HEADLINE = (
    ("in-batch + logQ", "in-batch + logQ", "255"),
    ("in-batch, no log q", "in-batch, no log q", "255"),
    ("uniform, no log q", "uniform, no log q", "255"),
    ("in-batch + logQ, hot down-sampled", "in-batch + logQ, downsample_hot", "255"),
    *((name, arm, "16") for name, arm in SIXTEEN.items()),
    ("full softmax (oracle)", "full softmax", "4,999"),
    ("iALS (no features)", "iALS", "-"),
    ("EASE (no features)", "EASE", "-"),
)
# Check of the earlier design, and its arm of this one.
EARLIER = {
    "no log q, softmax: half hard finds more than none": slots("both rejects", 0.5)[0],
    "no log q, bce: half hard finds more than none": slots(
        "both rejects", 0.5, loss="bce"
    )[0],
    "log q of the easy negatives: half hard finds more than none": slots(
        "both rejects", 0.5, log_q="log q of easy draws"
    )[0],
    "log q of the mixture: half hard finds more than none": slots(
        "both rejects", 0.5, log_q="log q of the mixture"
    )[0],
    "no log q, softmax: all hard finds less than none": slots("both rejects", 1)[0],
    "half exposed finds less than none": slots(
        "shown, not clicked", 0.5, log_q="log q of easy draws"
    )[0],
    "logQ finds more than no correction": "in-batch + logQ",
    "cost over all items: down-sampling popular positives": (
        "in-batch + logQ, downsample_hot"
    ),
    "cost over all items: up-sampling cold positives": "in-batch + logQ, upsample_cold",
    "serving with the corrected logit finds less than with the cosine": (
        "in-batch + logQ, served with log q"
    ),
}


def rows_of(verdicts: pl.DataFrame, at: str = OWN, **equal: str) -> list[dict]:
    """Rows of verdicts.csv at a temperature whose columns have these values."""
    found = verdicts.filter(pl.col("at") == at)
    for column, value in equal.items():
        found = found.filter(pl.col(column) == value)
    return found.rows(named=True)


def difference(row: dict) -> str:
    """A difference with its 95 % interval."""
    return f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def own_mean(runs: Table, setting: str, arm: str, metric: str) -> float:
    """Mean over worlds at the value that the other worlds' validation chooses."""
    _, worlds, valid = runs.cells(setting, arm, "valid")
    _, _, test = runs.cells(setting, arm, metric)
    every = np.arange(len(worlds))
    return float(own_values(valid, test, every, every).mean())


def headline(runs: pl.DataFrame, verdicts: pl.DataFrame) -> str:
    """The table of the project's README."""
    means = Table(runs)
    checks = {
        row["arm"]: row
        for row in rows_of(verdicts, setting="default", by="truth", metric="all")
    }
    mirrored = checks.pop("in-batch + logQ")  # against in-batch without log q
    rows = []
    for name, arm, number in HEADLINE:
        truth, log = (own_mean(means, "default", arm, by) for by in ("truth", "log"))
        if arm == "in-batch, no log q":
            row = mirrored | {
                "difference": -mirrored["difference"],
                "low": -mirrored["high"],
                "high": -mirrored["low"],
                "verdict": {"more": "less", "less": "more"}.get(
                    mirrored["verdict"].partition(",")[0], mirrored["verdict"]
                ),
            }
        else:
            row = checks.get(arm)
        cells = (
            [difference(row), row["verdict"].partition(", ")[0]] if row else ["", ""]
        )
        if arm in ("in-batch + logQ", SIXTEEN["16 uniform slots"]):
            cells = ["control", ""]
        rows.append([name, number, f"{truth:.4f}", *cells, f"{log:.4f}"])
    heading = ["samples", "negatives", "true_recall@20", "difference (95 %)"]
    return table([*heading, "verdict", "recall@20"], rows)


def beside(runs: pl.DataFrame) -> str:
    """recall@20 of samples, oracle and baselines on each log, best on validation."""
    arms = (
        "in-batch + logQ",
        "in-batch, no log q",
        "uniform, no log q",
        "full softmax",
        "iALS",
        "EASE",
        "item-kNN",
        "popularity",
    )
    rows = []
    for arm in arms:
        row = [arm]
        for log in LOGS:
            of_arm = runs.filter(setting=log, arm=arm)
            means = of_arm.group_by("value").agg(
                pl.col("valid", "log").mean(), pl.len()
            )
            # A value with fewer seeds than another is not compared with it.
            means = means.filter(pl.col("len") == pl.col("len").max())
            best = means.sort("valid", "value").tail(1)
            row.append(f"{best['log'].item():.4f}" if len(best) else "not run")
        rows.append(row)
    return table(["samples or model", *LOGS], rows)


def answer(verdicts: pl.DataFrame) -> str:
    """The answer: each claim with its differences in percent and its verdicts."""

    def of(arm: str, setting: str = "default", by: str = "truth", **more: str) -> str:
        found = rows_of(verdicts, arm=arm, setting=setting, by=by, **more)
        if not found:
            return "not run"
        (row,) = found
        share = 100 * row["difference"] / row["control"]
        return f"{share:+.0f} %, {row['verdict'].partition(', ')[0]}"

    pre, rank = ("pre-ranking rejects", "ranking rejects")
    half, quarter = slots(pre, 0.5)[0], slots(pre, 0.25)[0]
    recall = {"metric": "all"}
    rows = [
        [
            "half pre-ranking rejects, good funnel",
            *(of(half, "good funnel", by) for by in BY),
        ],
        [
            "half pre-ranking rejects, bad funnel",
            *(of(half, "bad funnel", by) for by in BY),
        ],
        ["a quarter pre-ranking rejects", *(of(quarter, by=by) for by in BY)],
        ["half pre-ranking rejects", *(of(half, by=by) for by in BY)],
        ["half ranking rejects", *(of(slots(rank, 0.5)[0], by=by) for by in BY)],
        ["half of both", *(of(slots("both rejects", 0.5)[0], by=by) for by in BY)],
        ["all of both", *(of(slots("both rejects", 1)[0], by=by) for by in BY)],
        [
            "half items that came through ranking",
            *(of(slots("end of ranking's list", 0.5)[0], by=by) for by in BY),
        ],
        [
            "half items that were shown",
            *(of(slots("shown, not clicked", 0.5)[0], by=by) for by in BY),
        ],
        [
            "log q subtracted from in-batch negatives",
            *(of("in-batch + logQ", by=by, **recall, part=LOGQ) for by in BY),
        ],
        [
            "hot positives down-sampled",
            *(of("in-batch + logQ, downsample_hot", by=by, **recall) for by in BY),
        ],
        [
            "log q subtracted in serving",
            *(of("in-batch + logQ, served with log q", by=by) for by in BY),
        ],
    ]
    heading = ["samples", "against the control, by the truth", "by the log"]
    return table(heading, rows)


def hardness(verdicts: pl.DataFrame) -> str:
    """The map: every arm with hard items against as many uniform ones."""
    rows = []
    for row in rows_of(verdicts, claim="L5", by="truth"):
        keys = {k: row[k] for k in ("arm", "setting", "part")}
        common = [
            f"{one['difference']:+.4f}"
            for at in ("0.1", "0.2", "0.4")
            for one in rows_of(verdicts, at, by="truth", **keys)
        ]
        log = rows_of(verdicts, by="log", **keys)
        arm = row["arm"].removesuffix(", alone").replace("sampled_softmax", "softmax")
        where = "" if row["setting"] == "default" else f"{row['setting']}: "
        rows.append(
            [
                where + arm,
                f"{row['control']:.4f}",
                difference(row),
                " ".join(common),
                row["verdict"],
                f"{log[0]['difference']:+.4f}, {log[0]['verdict']}" if log else "-",
            ]
        )
    heading = ["arm", "control", "truth, own temperatures", "at .1, .2, .4", "verdict"]
    return table([*heading, "by the log"], rows)


def claims(verdicts: pl.DataFrame) -> str:
    """The checks of L2, L3, L6, L7 and L8 by truth and by logs."""
    rows = []
    for row in verdicts.filter((pl.col("at") == OWN) & (pl.col("claim") != "L5")).rows(
        named=True
    ):
        where = row["setting"] if row["setting"] in LOGS else f"by {row['by']}"
        rows.append(
            [
                row["claim"],
                row["part"],
                where,
                f"{row['control']:.4f}",
                difference(row),
                row["verdict"],
            ]
        )
    rows.sort(key=lambda cells: cells[0])
    heading = ["claim", "check", "where", "control", "difference (95 %)", "verdict"]
    return table(heading, rows)


def reversals(verdicts: pl.DataFrame) -> str:
    """The verdicts of the earlier design beside those of this one, by the truth."""
    earlier = {
        row["statement"]: row
        for row in pl.read_csv(HERE / "earlier.csv")
        .filter(pl.col("place") == "default")
        .rows(named=True)
    }
    rows = []
    for statement, arm in EARLIER.items():
        before = earlier[statement]
        for now in rows_of(
            verdicts, arm=arm, setting="default", by="truth", metric="all"
        ):
            if now["part"].startswith("as many"):
                continue
            rows.append(
                [
                    before["claim"],
                    statement,
                    f"{before['difference']:+.4f} of {before['base_mean']:.4f}, "
                    f"{before['verdict']}",
                    f"{now['difference']:+.4f} of {now['control']:.4f}, "
                    f"{now['verdict']}",
                ]
            )
    return table(["claim", "check", "earlier design", "this design"], rows)


def ladder() -> str:
    """L4 by the earlier runs, whose arms name their stages and stand as they were."""
    earlier = pl.read_csv(HERE / "earlier.csv").filter(pl.col("claim") == "L4")
    rows = []
    for (statement,), group in earlier.group_by("statement", maintain_order=True):
        first = group.row(0, named=True)
        holds = int((group["verdict"] == "holds").sum())
        rows.append(
            [
                statement,
                f"{first['base_mean']:.3f}",
                f"{first['difference']:+.3f} ({first['low']:+.3f} to "
                f"{first['high']:+.3f})",
                f"{holds} of {len(group)}",
            ]
        )
    heading = ["check", "AUC of the earlier stage", "difference, default world"]
    return table([*heading, "worlds in which it holds"], rows)


def concentration() -> str:
    """L1: shares of the clicks on the most clicked items."""
    rows = [
        [
            row["where"],
            f"{row['clicks']:,}",
            f"{row['items']:,}",
            f"{row['top 10 %']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
            f"{row['gini']:.3f}",
        ]
        for row in pl.read_csv(HERE / "concentration.csv").rows(named=True)
    ]
    heading = ["where", "clicks", "items", "share of the top tenth (95 %)", "Gini"]
    return table(heading, rows)


def ends(verdicts: pl.DataFrame) -> str:
    """Arms whose own value is an end of its grid."""
    notes = verdicts.filter(pl.col("note").is_not_null())["note"].to_list()
    found = sorted({part for note in notes for part in note.split("; ") if part})
    return "\n".join(f"* {one}" for one in found)


def why(verdicts: pl.DataFrame) -> str:
    """The gain of each kind of reject beside the true click rate of its items."""
    stages = pl.read_csv(HERE / "stages.csv")
    rows = []
    for stage, name in (("retrieved", REJECTS[0]), ("pre_ranked", REJECTS[1])):
        arm = slots(name, 0.5)[0]
        for row in rows_of(verdicts, arm=arm, by="truth"):
            (one,) = stages.filter(
                (pl.col("stage") == stage) & (pl.col("setting") == row["setting"])
            ).rows(named=True)
            gain = 100 * row["difference"] / row["control"]
            rows.append(
                (one["click_rate"], one["auc"], name, row["setting"], gain, row)
            )
    rows.sort(key=lambda cells: -cells[4])
    ranks = [spearmanr([r[i] for r in rows], [r[4] for r in rows])[0] for i in (0, 1)]
    lines = []
    for rate, auc, kind, setting, gain, row in rows:
        word = row["verdict"].partition(", ")[0]
        cells = [kind, setting, f"{rate:.3f}", f"{auc:.3f}", f"{gain:+.0f} %", word]
        lines.append(cells)
    heading = ["half of the slots", "funnel", "true click rate", "AUC of clicks"]
    return (
        table([*heading, "by the truth", "verdict"], lines)
        + "\n\nSpearman's rank correlation over the rows: "
        f"{ranks[0]:+.2f} of gain and click rate, {ranks[1]:+.2f} of gain and AUC."
    )


def cost(runs: pl.DataFrame) -> str:
    """Number of runs, worlds and minutes of training of each setting."""
    rows = [
        [
            setting,
            f"{group.height:,}",
            str(group["arm"].n_unique()),
            str(group["seed"].n_unique()),
            f"{group['seconds'].sum() / 60:.0f}",
        ]
        for (setting,), group in runs.sort("setting").group_by(
            "setting", maintain_order=True
        )
    ]
    total = f"{runs['seconds'].sum() / 60:.0f}"
    rows.append(["all", f"{runs.height:,}", "", "", total])
    return table(["setting", "runs", "arms", "worlds", "minutes of training"], rows)


def further(runs: pl.DataFrame) -> str:
    """Rows of the map in worlds that were added later, without verdicts."""
    added = runs.filter(~pl.col("seed").is_in(WORLDS))["seed"].unique().sort()
    groups = (("planned", WORLDS), ("added", added), ("all", (*WORLDS, *added)))
    rows = []
    for check in CHECKS:
        if check.statement != "shares":
            continue
        cells = []
        for _, worlds in groups:
            chosen = Table(runs.filter(pl.col("seed").is_in(list(worlds))))
            found = list(differences(chosen, "default", check, "truth"))
            if found and found[-1].at == OWN:
                cells.append(difference(found[-1]._asdict()))
        if len(cells) == len(groups):
            rows.append([check.arm.partition(", no log q")[0], *cells])
    heading = [f"{name} ({len(worlds)} worlds)" for name, worlds in groups]
    return table(["arm", *heading], rows)


def family(verdicts: pl.DataFrame) -> str:
    """Words that the wider family of Holm's correction would take away."""
    lines = []
    for (setting, by), group in verdicts.filter(pl.col("claim") == "L5").group_by(
        "setting", "by", maintain_order=True
    ):
        wide = group.with_columns(wide=pl.Series(holm(group["p"].to_numpy())))
        for row in wide.filter(pl.col("at") == OWN).rows(named=True):
            shown = row["verdict"].partition(",")[0] in ("more", "less")
            if shown and row["wide"] >= 0.05:
                lines.append(f"* {setting}, by the {by}: {row['arm']}")
    return "\n".join(lines) or "None."


def unrun(runs: pl.DataFrame) -> str:
    """Number of planned arms that lack worlds or seeds, by setting."""
    counts = runs.group_by("setting", "arm").agg(pl.col("seed").n_unique())
    worlds = {(setting, arm): number for setting, arm, number in counts.iter_rows()}
    lines = []
    for setting in dict.fromkeys(s for check in CHECKS for s in check.settings):
        names = arms_of(setting)
        # No seed changes these baselines on a log.
        once = ("EASE", "item-kNN", "popularity") if setting in LOGS else ()
        had = {arm: worlds.get((setting, arm), 0) for arm in names}
        left = [a for a in names if had[a] < (1 if a in once else len(WORLDS))]
        if left:
            shown = "all" if len(left) == len(names) else f"{len(left)} of {len(names)}"
            most = max(had[arm] for arm in left)
            some = f", which have {most} of {len(WORLDS)} seeds" if most else ""
            lines.append(f"* {setting}: {shown} arms{some}")
    return "\n".join(lines)


def agreement(runs: pl.DataFrame) -> str:
    """Kendall's tau-b over the arms of the default world, each at its own value."""
    means = Table(runs)
    arms = [
        arm
        for arm in runs.filter(pl.col("setting") == "default")["arm"].unique().sort()
        if len(means.cells("default", arm, "valid")[1]) > 3
    ]
    values = {
        by: [own_mean(means, "default", arm, by) for arm in arms]
        for by in ("truth", "log", "weighted_log")
    }
    taus = [
        float(kendalltau(values["truth"], values[by]).statistic)
        for by in ("log", "weighted_log")
    ]
    return table(
        ["arms", "log and truth", "weighted log and truth"],
        [[str(len(arms)), *(f"{tau:.2f}" for tau in taus)]],
    )


def draw(verdicts: pl.DataFrame) -> None:
    """Draw the differences in percent by kind of item, share and funnel."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.6), layout="constrained")
    axes[1].sharey(axes[0])
    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#999999"]
    for axis, by in zip(axes, ("truth", "log"), strict=False):
        for place, stages in enumerate(list(STAGES)[:-1]):
            points = [(0.0, 0.0, 0.0, 0.0)]
            for share in (0.25, 0.5, 0.75, 1.0):
                arm = slots(stages, share)[0]
                for row in rows_of(
                    verdicts, arm=arm, by=by, setting="default", part="shares"
                ):
                    parts = (
                        row[k] / row["control"] for k in ("difference", "low", "high")
                    )
                    points.append((share, *(100 * part for part in parts)))
            x, y, low, high = np.array(points).T
            shift = (place - 2.5) * 0.012
            label = "earlier design" if stages == OLD else stages
            axis.errorbar(
                x + shift, y, (y - low, high - y), label=label, color=colours[place],
                marker="o", ms=3, lw=1.2, elinewidth=0.8,
            )  # fmt: skip
        axis.axhline(0, color="black", lw=0.8)
        axis.set_xlabel("share of hard items in 16 slots")
        axis.set_title(f"by the {by}", fontsize=10)
    axes[0].set_ylabel("difference to 16 uniform slots, %")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=6, loc="outside lower center")
    settings = ["good funnel", "default", "bad funnel"]
    settings += [name for name in FUNNELS if name not in settings]
    arm = slots("pre-ranking rejects", 0.5)[0]
    settings = [name for name in settings if rows_of(verdicts, arm=arm, setting=name)]
    for place, setting in enumerate(settings):
        for by, colour, shift in (
            ("truth", colours[0], -0.15),
            ("log", colours[5], 0.15),
        ):
            for row in rows_of(verdicts, arm=arm, by=by, setting=setting):
                x, low, high = (
                    100 * row[k] / row["control"] for k in ("difference", "low", "high")
                )
                axes[2].errorbar(
                    x, -place - shift, xerr=([x - low], [high - x]), color=colour,
                    marker="o", ms=4, label=f"by the {by}" if not place else None,
                )  # fmt: skip
    axes[2].axvline(0, color="black", lw=0.8)
    axes[2].set_yticks([-i for i in range(len(settings))], settings, fontsize=8)
    axes[2].set_title("half pre-ranking rejects, by funnel", fontsize=10)
    axes[2].set_xlabel("difference, %")
    axes[2].legend(fontsize=7)
    matplotlib.rcParams["svg.hashsalt"] = "lecture"
    figure.savefig(HERE / "figure_hardness.svg", metadata={"Date": None})


def tables() -> dict[str, str]:
    """All tables by the name of their marks."""
    every = pl.read_csv(HERE / "runs.csv", schema=SCHEMA)
    runs = every.filter(pl.col("seed").is_in(WORLDS))
    verdicts = pl.read_csv(HERE / "verdicts.csv")
    return {
        "answer": answer(verdicts),
        "headline": headline(runs, verdicts),
        "beside": beside(runs),
        "map": hardness(verdicts),
        "why": why(verdicts),
        "claims": claims(verdicts),
        "reversals": reversals(verdicts),
        "ends": ends(verdicts),
        "unrun": unrun(runs),
        "cost": cost(every),
        "further": further(every),
        "family": family(verdicts),
        "ladder": ladder(),
        "concentration": concentration(),
        "agreement": agreement(runs),
    }


def main() -> None:
    """Write all tables and the figure."""
    for name, text in tables().items():
        for page in PAGES:
            insert(page, name, text)
    draw(pl.read_csv(HERE / "verdicts.csv"))


if __name__ == "__main__":
    main()
