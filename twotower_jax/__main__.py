"""``python -m twotower_jax`` is the command ``twotower``."""

from twotower_jax.cli import main

if __name__ == "__main__":
    main()
