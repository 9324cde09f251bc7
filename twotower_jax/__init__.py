"""twotower_jax: which training samples should a two-tower model learn from?"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twotower_jax.export.load import load_model
    from twotower_jax.notebook.compare import compare
    from twotower_jax.notebook.log import read_log
    from twotower_jax.objective.loss_audit import audit

__all__ = [
    "__version__",
    "audit",
    "compare",
    "load_model",
    "read_log",
]
__version__ = "0.1.0"

# Imported on use, for they import JAX or polars.
MODULES = {
    "audit": "twotower_jax.objective.loss_audit",
    "compare": "twotower_jax.notebook.compare",
    "load_model": "twotower_jax.export.load",
    "read_log": "twotower_jax.notebook.log",
}


def __getattr__(name: str) -> Any:
    """Return a function of `MODULES`."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)
