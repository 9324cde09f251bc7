"""A line below the cell of a notebook, which is redrawn in place."""

import contextvars
import sys
from typing import Any


def in_notebook() -> bool:
    """Return True in the kernel of a Jupyter notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class CellLine:
    """One output of the running cell, whose text is replaced.

    Threads may show a text, one at a time: it stands below the cell that made the line.
    """

    def __init__(self) -> None:
        """Begin without an output; the first text makes it."""
        self._context, self._handle = contextvars.copy_context(), None

    def show(self, text: str) -> None:
        """Replace the text."""
        # The context holds the cell that outputs belong to.
        self._context.run(self._show, {"text/plain": text})

    def _show(self, content: dict[str, Any]) -> None:
        from IPython.display import display  # type: ignore[import-not-found]

        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
