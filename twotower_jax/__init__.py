"""twotower_jax: which training samples should a two-tower model learn from?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twotower_jax.export.load import load_model
    from twotower_jax.objective.loss_audit import audit

__all__ = ["__version__", "audit", "load_model"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return a function, which is imported on use, for it imports JAX."""
    if name == "audit":
        from twotower_jax.objective.loss_audit import audit

        return audit
    if name == "load_model":
        from twotower_jax.export.load import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
