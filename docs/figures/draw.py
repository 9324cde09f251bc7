"""Write the figures of the documentation: `python docs/figures/draw.py OUT [NAME ...]`.

Without names it writes every figure. The result is the same on every call.
"""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all figures: the modules with a function `draw`."""
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if "\ndef draw()" in path.read_text(encoding="utf-8")
    )


def main() -> None:
    """Write the figures that are named."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.path.insert(0, str(HERE.parent))
    from figures.style import svg

    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or names():
        figure = importlib.import_module(f"figures.{name}").draw()
        text = svg(figure, name, name).replace("currentColor", "black")
        (out / f"{name}.svg").write_text(text, encoding="utf-8")
        print(out / f"{name}.svg")


if __name__ == "__main__":
    main()
