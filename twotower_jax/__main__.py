"""The command ``twotower``, also as ``python -m twotower_jax``."""

import os
import sys
from pathlib import Path

from twotower_jax.errors import InputError


def _refused(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def start() -> None:
    """Import and run the command line; Ctrl-C while importing ends it silently."""
    # Python puts the working directory first; Hydra would import its hydra_plugins.
    here, package = Path.cwd(), Path(__file__).parents[1]
    if here != package:
        sys.path[:] = [one for one in sys.path if one not in ("", os.fspath(here))]
    try:
        from twotower_jax.signals import INTERRUPTS

        INTERRUPTS.begin()
        try:
            from twotower_jax.cli import main

            main()
        except Exception as error:
            # An import of a C extension turns Ctrl-C into an error of its own.
            if INTERRUPTS.noted:
                sys.exit(130)
            # Of a package with choices, which is imported before any command.
            if isinstance(error, InputError):
                sys.exit(_refused(error))
            raise
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    start()
