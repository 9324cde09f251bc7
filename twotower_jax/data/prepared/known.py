"""Items known at the training positives, written once and read by memory maps."""

from pathlib import Path

from twotower_jax.data.known_items import KnownItems, first_events, known_items
from twotower_jax.data.log import FunnelLog, Split
from twotower_jax.data.prepared.arrays import load_array, save_array

KNOWN = "known"


def save_known(out: Path, log: FunnelLog, parts: Split) -> None:
    """Write the items known at each training positive, where the log has times."""
    if log.time is None or parts.train.time is None:
        return
    known = known_items(first_events(log), parts.train.time)
    for name, values in known._asdict().items():
        save_array(out / KNOWN / f"{name}.npy", values)


def load_known(out: Path) -> KnownItems | None:
    """Return the items known at the training positives of a prepared folder."""
    folder = out / KNOWN
    if not folder.is_dir():
        return None
    names = KnownItems._fields
    return KnownItems(*(load_array(folder / f"{name}.npy") for name in names))
