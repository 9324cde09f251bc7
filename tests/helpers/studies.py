"""Handmade studies and a parser of reports, shared by tests."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from twotower_jax.report.html import write_report
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

HOSTILE = '<script>alert("x")</script> & [red] $x_1$'


def write_arm(folder: Path, arm: str | None, recalls: list[float], **other) -> None:
    """Write one finished run per seed; slices are multiples of the recall.

    Args:
      folder: of the study.
      arm: the label.
      recalls: of each seed.
      other: `metrics`, `split` and `samples` replace the defaults; `config` has
        additional keys; `records` are the lines of metrics.jsonl.
    """
    rest = dict(other)
    records, config = rest.pop("records", []), rest.pop("config", {})
    for seed, recall in enumerate(recalls):
        path = folder / f"{len(list(folder.iterdir())):03d}"
        path.mkdir()
        config = {"arm": arm, "seed": seed, "data": {"source": "table"}, **config}
        if "loss" not in config:
            config["loss"] = {"x": str(rest) + str(arm)}
        config = {"training": {"batch_size": 64}, **config, "seed": seed}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = {
            "recall@10": recall / 2,
            "recall@20": recall,
            "recall@20/head": recall * 2,
            "recall@20/mid": recall,
            "recall@20/tail": recall / 10,
            "ndcg@20": recall / 2,
            "coverage@20": 0.5,
        }
        files = {
            "manifest": {
                "data_fingerprint": "f1f2f3",
                "device": "cpu",
                "versions": {"jax": "0.10.1"},
            },
            "status": {"status": "done"},
            "result": {
                "metrics": {rest.get("split", "test"): rest.get("metrics", metrics)},
                "seconds": 10.0 + 2 * seed,
                "steps": 100,
                "examples_per_second": 12345.0,
                "seed": seed,
                "samples": rest.get("samples", {}),
            },
        }
        for name, value in files.items():
            (path / f"{name}.json").write_text(json.dumps(value))
        lines = (json.dumps(one) + "\n" for one in records)
        (path / "metrics.jsonl").write_text("".join(lines))


def report(folder: Path, **given: Any) -> Path:
    """Write the report of a folder like the command, and return its path."""
    return write_report(load_study([folder], Description(**given)))


class Page(HTMLParser):
    """The report as a reader sees it: tables, figures and texts below each heading.

    Attributes:
      tables: {heading: [table as rows of texts, its heads first]}.
      texts: {heading: all texts below it}.
      figures: the titles of the figures.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.texts: dict[str, str] = {}
        self.figures: list[str] = []
        self._heading, self._open = "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        if tag == "wbr":  # has no end
            self._open.pop()
        tables = self.tables.setdefault(self._heading, [])
        if tag in ("h1", "h2"):
            self._heading = ""
        elif tag == "table":
            tables.append([])
        elif tag == "tr":
            tables[-1].append([])
        elif tag in ("td", "th"):
            tables[-1][-1].append("")
        elif label := dict(attrs).get("aria-label"):
            self.figures.append(label)

    def handle_endtag(self, tag):
        while self._open.pop() != tag:
            pass

    def handle_data(self, data):
        data = data.replace("\xa0", " ")
        if self._open[-1:] in (["h1"], ["h2"]):
            self._heading += data
        elif self._open[-1:] in (["td"], ["th"]):
            self.tables[self._heading][-1][-1][-1] += data
        elif "style" not in self._open:
            self.texts[self._heading] = self.texts.get(self._heading, "") + data

    def row(self, heading: str, arm: str, table: int = 0) -> dict[str, str]:
        """Return {head: cell} of an arm in a table below a heading."""
        heads, *rows = self.tables[heading][table]
        (row,) = (row for row in rows if arm in row[:2])
        return dict(zip(heads, row, strict=True))


def write_queries(folder: Path) -> None:
    """Give every run 50 queries around its recall, the same queries everywhere."""
    noise = np.random.default_rng(0).normal(0, 0.01, 50)
    for path in folder.glob("*/result.json"):
        metrics = json.loads(path.read_text())["metrics"]["test"]
        jitter = np.random.default_rng(int(path.parent.name)).normal(0, 0.01, 50)
        columns = {
            name: value + (noise - noise.mean()) + (jitter - jitter.mean())
            for name, value in metrics.items()
            if "coverage" not in name
        }
        queries = pl.DataFrame({"user": range(50), **columns})
        queries.write_parquet(path.parent / "queries.parquet")
