"""The folder of an exported baseline: the best items of every user, listed beforehand.

A baseline has no towers that another program could call, and its scores need all of
the clicks. Its lists need nothing but a table.
"""

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.text_files import write_json, write_text
from twotower_jax.export import files, serve_lists
from twotower_jax.export.items import lists_table
from twotower_jax.model.towers import BASELINES
from twotower_jax.run.evaluate import baseline_scorer, known_clicks, knows_valid
from twotower_jax.run.loader import Loaded
from twotower_jax.run.rank import user_state

LENGTH = 100

TEXT = """# The lists of a baseline: {label}

The {length} best items of each of {users:,} users, of {items:,} items, and one list for
a user that is not among them: the items with the most clicks.
{seen}

Written by twotower-jax {version} from the run `{config}` (data `{data}`).
The baseline knows the positives of training{valid}. It has no towers: a list changes
when the baseline is fitted again, and there is none for a new history.

```
pip install polars
python serve.py --user ID
```

```python
import twotower_jax

lists = twotower_jax.load_lists("this folder")
lists.recommend(users=[...], k=20)
```

| file | content |
|---|---|
| `lists.parquet` | columns `user` (null: all others), `rank` from 1, `item`, `score` |
| `serve.py` | prints the list of a user, with polars alone |
| `manifest.json` | format version, run, SHA-256 of every file |

Equal scores are in the order of the run's item codes. Where the baseline has no score
for a user, the scores are numbers of clicks.
"""
SEEN = {
    True: "Items that the user clicked are left out.",
    False: "Items that the user clicked may be listed.",
}


def export_lists(config: Config, data: Loaded, out: Path) -> None:
    """Write the lists of a baseline as a folder of files for other programs."""
    with files.new_folder(out) as place:
        make_lists(config, data).write_parquet(place / files.LISTS)
        shutil.copyfile(serve_lists.__file__, place / files.SERVE)
        manifest = _describe(config, data)
        write_text(place / files.README, _readme(config, manifest))
        manifest["files"] = files.checksums(place)
        write_json(place / files.MANIFEST, manifest)


def make_lists(config: Config, data: Loaded) -> pl.DataFrame:
    """The best items of every user by a baseline, as evaluation on test lists them."""
    log, kind = data.log, config.towers.kind
    users = np.arange(log.num_users, dtype=np.int32)
    history = known_clicks(config, data, "test")
    blank = np.zeros(len(users), bool)
    k = min(LENGTH, log.num_items)
    scorer = baseline_scorer(config, data, kind, history, blank)
    scores, items = scorer.top_k(k, user_state(config, data).seen)
    most = np.argsort(-data.counts, kind="stable")[None, :k]
    return lists_table(
        log.user_ids.rename("user").extend_constant(None, 1),
        log.item_ids.rename("item"),
        np.concatenate([items, most.astype(items.dtype)]),
        np.concatenate([scores, data.counts[most].astype(scores.dtype)]),
    )


def _describe(config: Config, data: Loaded) -> dict[str, Any]:
    """Return the entries of the manifest that do not refer to files."""
    return {
        "format": files.LISTS_FORMAT,
        "format_version": files.FORMAT_VERSION,
        "baseline": config.towers.kind,
        "length": min(LENGTH, data.log.num_items),
        "users": data.log.num_users,
        "items": data.log.num_items,
        "seen_items_left_out": config.data.mask_seen,
        "run": {
            "name": config.name,
            "arm": config.arm,
            "config_fingerprint": fingerprint(config),
            "data_fingerprint": data.fingerprint,
        },
        "versions": {"twotower-jax": importlib.metadata.version("twotower-jax")},
    }


def _readme(config: Config, manifest: dict[str, Any]) -> str:
    """Return the text of README.md."""
    return TEXT.format(
        label=BASELINES[config.towers.kind].label,
        seen=SEEN[manifest["seen_items_left_out"]],
        version=manifest["versions"]["twotower-jax"],
        config=manifest["run"]["config_fingerprint"],
        data=manifest["run"]["data_fingerprint"],
        valid=" and validation" if knows_valid(config) else "",
        **{name: manifest[name] for name in ("length", "users", "items")},
    )
