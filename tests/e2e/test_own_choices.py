"""Choices of a package of the user's: in sweeps, processes, evaluations, messages."""

import json
import os
import subprocess
import sys

import pytest
from helpers.contributing import SOURCE, block
from helpers.tiny import SMALL

MODULE = '''
"""A loss and a tower of another package."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from twotower_jax.losses import LOSSES, SampledLoss
from twotower_jax.losses.loss import weighted_mean
from twotower_jax.model.towers import TOWERS, Tower, Towers
from twotower_jax.registry import key


@LOSSES.add
@dataclass(unsafe_hash=True)
class SquaredHinge(SampledLoss):
    """Squares of what negatives lack."""

    name: str = "squared_hinge"
    margin: float = key(0.2, above=0, doc="lead of the positive", example="0.5")

    def of_rows(self, positive, negatives, weight):
        ahead = self.temperature * (positive[:, None] - negatives)
        return weighted_mean(jnp.maximum(self.margin - ahead, 0) ** 2, weight)


@TOWERS.add
@dataclass(unsafe_hash=True)
class Linear(Towers):
    """A matrix over the sum of the vectors."""

    kind: str = "linear"
    deviation: float = key(0.05, above=0, doc="of the matrix at the start", example="1")

    def build(self, shape):
        def init(key):
            matrix = jax.random.normal(key, (shape.dim, shape.dim))
            return {"matrix": self.deviation * matrix}

        return Tower(init, lambda params, vectors: sum(vectors) @ params["matrix"])
'''
MODULE += SOURCE + block("Add a source of negatives", "python")
METADATA = "Metadata-Version: 2.1\nName: own-losses\nVersion: 1.5\n"
POINT = "[twotower_jax.choices]\nmine = own_losses\n"


@pytest.fixture
def twotower(tmp_path):
    """Return a function that runs a command beside a package with a loss of its own."""
    site = tmp_path / "site"
    info = site / "own_losses-1.5.dist-info"
    info.mkdir(parents=True)
    (site / "own_losses.py").write_text(MODULE)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(POINT)

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "twotower_jax", *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )

    run.site = site
    return run


def test_a_loss_and_a_tower_of_another_package_are_trained_in_processes_and_evaluated(
    twotower, tmp_path
):
    words = [word for word in SMALL if not word.startswith("training.steps")]
    words += ["training.steps=20", "name=own", "loss.margin=0.1,0.3"]
    words += ["towers=linear", "towers.deviation=0.3"]
    sweep = "-m", "loss=squared_hinge", "hydra/launcher=fused"
    made = twotower("train", *sweep, "hydra.launcher.processes=true", *words)
    assert made.returncode == 0, made.stdout + made.stderr
    folders = sorted((tmp_path / "outputs" / "own").glob("*/result.json"))
    assert len(folders) == 2
    report = (tmp_path / "outputs" / "own" / "report.html").read_text()
    assert "margin=0.1" in report and "margin=0.3" in report
    folder = folders[0].parent
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["own-losses"] == "1.5"
    again = twotower("evaluate", str(folder))
    assert again.returncode == 0, again.stderr
    assert "recall@20" in again.stdout
    start = (
        f"training.start_from={folder}",
        "training.update=full",
        "loss=squared_hinge",
    )
    words = [word for word in SMALL if not word.startswith("training.steps")]
    other = twotower("train", *words, *start, "towers=linear", "towers.deviation=0.2")
    assert other.returncode == 2 and "set towers.deviation=0.3" in other.stderr
    (twotower.site / "own_losses.py").write_text("raise OSError('no licence')")
    broken = twotower("evaluate", str(folder))
    assert broken.returncode == 2
    assert "own_losses, which registers mine for twotower_jax" in broken.stderr
    assert "no licence" in broken.stderr and "Traceback" not in broken.stderr


def test_a_source_of_hard_negatives_of_another_package(twotower, tmp_path):
    """CONTRIBUTING's example, by the entry point, with exact log q and a report."""
    source = "negatives/hard=same_category", "negatives.hard.num=4"
    words = [*source, "name=own", "towers=mlp"]
    made = twotower("train", "-m", *SMALL, *words, "seed=0,1")
    assert made.returncode == 0, made.stdout + made.stderr
    folders = sorted((tmp_path / "outputs" / "own").glob("*/result.json"))
    assert len(folders) == 2
    again = twotower("evaluate", str(folders[0].parent))
    assert again.returncode == 0, again.stderr
    told = twotower("train", "--help", "negatives.hard.column").stdout
    assert "same_category: feature of the items" in told
    refused = twotower("train", *source, "negatives.hard.stages=[ranked]")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "error: negatives.hard.stages is a key of negatives/hard=log"
    )


def test_its_keys_are_explained_and_others_are_refused(twotower):
    told = twotower("train", "--help", "loss.margin").stdout
    assert "squared_hinge: lead of the positive" in told
    told = twotower("train", "--help", "towers.deviation").stdout
    assert "linear: of the matrix at the start" in told
    refused = twotower("train", "towers=mlp", "towers.deviation=2")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "error: towers.deviation is a key of towers=linear"
    )
    refused = twotower("train", "loss=squared_hinge", "loss.ratio=2")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: loss.ratio is a key of loss=bce, gbce and")
