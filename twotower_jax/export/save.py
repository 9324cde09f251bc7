"""From a model whose items were changed to a new folder of an export."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twotower_jax.config.parse_text import parse_json
from twotower_jax.data.text_files import write_json, write_text
from twotower_jax.export import files
from twotower_jax.export.index import write_index
from twotower_jax.export.readme import readme
from twotower_jax.run.updates import json_values

if TYPE_CHECKING:
    from twotower_jax.export.load import ServedModel

# Files that a change of the items does not change.
KEPT = (*files.TOWERS.values(), files.USERS, files.SERVE)


def save_model(model: "ServedModel", queries: np.ndarray, out: Path) -> None:
    """Write a model with its changed items as a new folder."""
    index = model.index
    removed = np.flatnonzero(~index.present).tolist()
    changed: dict[str, Any] = {"items": len(index), "removed_items": removed}
    with files.new_folder(out) as place:
        for name in KEPT:
            shutil.copyfile(model.folder / name, place / name)
        files.write_items(place, index.ids, index.vectors, index.present)
        path = model.folder / files.VOCABULARY
        vocabulary = parse_json(path.read_text(encoding="utf-8"))
        vocabulary["items"] = json_values(index.ids)
        write_json(place / files.VOCABULARY, vocabulary)
        if (entry := model.manifest["index"]) is not None:
            library, path = entry["library"], place / entry["file"]
            changed["index"] = write_index(
                library, path, index.graph(), index.items(), queries
            )
        manifest = model.manifest | changed
        write_text(place / files.README, readme(manifest))
        manifest["files"] = files.checksums(place)
        write_json(place / files.MANIFEST, manifest)
