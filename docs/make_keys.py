"""Write the tables of keys from the declarations in twotower_jax/config.

``python docs/make_keys.py`` writes docs/reference-keys.md and the table of the
simulator's README. A test checks that both are up to date.
"""

import re
from pathlib import Path

from twotower_jax.config.describe import KeyRow, describe_keys, key_table
from twotower_jax.data.sources import SOURCES
from twotower_jax.losses.rowwise import LOSSES
from twotower_jax.model.baselines import BASELINES
from twotower_jax.model.tower import TOWERS
from twotower_jax.sampling.positives import POSITIVES
from twotower_jax.sampling.proposals import PROPOSALS
from twotower_jax.training.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference-keys.md"
SIMULATOR = ROOT / "twotower_jax" / "data" / "simulator" / "README.md"
NAMES = {
    "data.source": SOURCES,
    "positives.strategy": POSITIVES,
    "negatives.easy.sampler": PROPOSALS,
    "loss.name": LOSSES,
    "towers.kind": [*TOWERS, *BASELINES],
    "optimizer.name": OPTIMIZERS,
}
HEAD = """# Keys of the configuration

Every key of `twotower train`, with its default and the values allowed. A value out of
range ends with exit status 2 before any training. The groups (`data=`, `negatives=`,
...) pick files of `conf/` that set several keys at once. The allowed values of a list
are those of its parts. An empty cell allows every value of the type.

This page is written by `python docs/make_keys.py` from `twotower_jax/config/`.
"""
SECTIONS = (
    "data",
    "data.columns",
    "data.simulator",
    "data.recflow",
    "data.kuairand",
    "positives",
    "negatives",
    "negatives.easy",
    "negatives.hard",
    "negatives.bank",
    "loss",
    "loss.logq",
    "towers",
    "optimizer",
    "training",
    "evaluation",
    "baseline",
)
BEGIN, END = "<!-- keys: python docs/make_keys.py -->\n", "<!-- /keys -->"


def section(key: str) -> str:
    """Return the longest section of the page that holds a key, "" for the root."""
    held = [name for name in SECTIONS if key.startswith(f"{name}.")]
    return max(held, key=len, default="")


def page() -> str:
    """Return the text of docs/reference-keys.md."""
    rows: dict[str, list[KeyRow]] = {name: [] for name in ("", *SECTIONS)}
    for row in describe_keys(NAMES):
        rows[section(row.key)].append(row)
    parts = [HEAD]
    for name, keys in rows.items():
        parts.append(f"## {name or 'The run'}\n\n{key_table(keys)}")
    return "\n".join(parts)


def simulator_page() -> str:
    """Return the text of the simulator's README with its table of keys renewed."""
    keys = [row for row in describe_keys() if section(row.key) == "data.simulator"]
    table = BEGIN + key_table(keys, "data.simulator.") + END
    return re.sub(
        f"{BEGIN}.*?{END}", lambda _: table, SIMULATOR.read_text(), flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    SIMULATOR.write_text(simulator_page())
