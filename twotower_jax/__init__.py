"""twotower_jax: which training samples should a two-tower model learn from?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twotower_jax.objective.loss_audit import audit

__all__ = ["__version__", "audit"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return the function ``audit``, which is imported on use, for it imports JAX."""
    if name == "audit":
        from twotower_jax.objective.loss_audit import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
