"""``python -m twotower_jax`` is the command ``twotower``."""

import os
import sys
from pathlib import Path

# Python puts the working directory first, and Hydra imports any hydra_plugins there.
_HERE, _PACKAGE = Path.cwd(), Path(__file__).parents[1]
if _HERE != _PACKAGE:
    sys.path[:] = [one for one in sys.path if one not in ("", os.fspath(_HERE))]

from twotower_jax.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
