"""The folder of an export, which a finished run gets on the first call."""

from pathlib import Path


def exported(folder: Path) -> Path:
    """Folder of an export, which a finished run gets in its folder ``model``."""
    if not (folder / "config.yaml").is_file():
        return folder
    from twotower_jax.export.write import export_once  # imports training

    return export_once(folder)
