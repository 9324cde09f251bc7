"""The size and shape of a package: `python benchmarks/house.py [FOLDER]`.

Prints one line per measure. A room is a folder below the package, or one of its own
modules; an arrow is that modules of one room import from another, and the floors are
the rooms of the longest chain of arrows.
"""

import ast
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

CORE = ("training", "negatives", "losses")
SMALL = 30  # lines of code: a smaller file is a closet


class Module(NamedTuple):
    """One file of the package."""

    name: str  # dotted, without the package
    text: str
    tree: ast.Module
    package: bool  # whether it is an __init__

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


def read(package: Path) -> list[Module]:
    """Return the modules of a package."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        name = ".".join(part for part in parts if part != "__init__")
        modules.append(Module(name, text, ast.parse(text), parts[-1] == "__init__"))
    return modules


def documented(tree: ast.Module) -> set[int]:
    """Return the numbers of the lines of docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines: set[int] = set()
    for node in ast.walk(tree):
        first = node.body[0] if isinstance(node, kinds) and node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            lines |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return lines


def code_lines(module: Module) -> int:
    """Return the number of lines that are no docstring, comment or blank."""
    left_out = documented(module.tree)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#")
        for number, line in enumerate(module.text.splitlines(), start=1)
        if number not in left_out
    )


def public_names(module: Module) -> set[str]:
    """Return the functions, classes and constants of a module's top level."""
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def none_tests(module: Module) -> int:
    """Return the number of comparisons with None."""
    return sum(
        isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        and any(
            isinstance(c, ast.Constant) and c.value is None for c in node.comparators
        )
        for node in ast.walk(module.tree)
    )


def imported(module: Module, package: str, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports at its top level."""
    targets: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            start = (node.module or "").removeprefix(package).removeprefix(".")
            for alias in node.names:
                inner = f"{start}.{alias.name}".removeprefix(".")
                targets.add(inner if inner in known else start)
    return targets - {module.name}


def arrows(modules: list[Module], package: str) -> set[tuple[str, str]]:
    """Return (room, room that it imports from), imports inside functions too."""
    rooms = {module.room for module in modules}
    pairs: set[tuple[str, str]] = set()
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                start, _, rest = (node.module or "").partition(".")
                names = [rest] if rest else [alias.name for alias in node.names]
                for name in names if start == package else ():
                    room = name.partition(".")[0]
                    if room in rooms and room != module.room:
                        pairs.add((module.room, room))
    return pairs


def cycle(modules: list[Module], package: str) -> list[str]:
    """Return modules that import each other in a ring, [] without any."""
    known = {module.name for module in modules}
    graph = {module.name: imported(module, package, known) for module in modules}
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> list[str]:
        state[name] = 1
        for other in sorted(graph.get(name, ())):
            if state.get(other) == 1 and other in trail:
                return trail[trail.index(other) :]
            if other not in state and (ring := visit(other, [*trail, other])):
                return ring
        state[name] = 2
        return []

    for name in sorted(graph):
        if name not in state and (ring := visit(name, [name])):
            return ring
    return []


def floors(pairs: set[tuple[str, str]]) -> int:
    """Return the number of rooms of the longest chain; 0 where arrows form a ring."""
    below: dict[str, set[str]] = {}
    for room, other in pairs:
        below.setdefault(room, set()).add(other)

    @cache
    def height(room: str) -> int:
        return 1 + max(map(height, below.get(room, ())), default=0)

    try:
        return max(map(height, below), default=1)
    except RecursionError:
        return 0


def measure(package: Path) -> dict[str, int]:
    """Return each measure of a package by its name."""
    modules, name = read(package), package.name
    code = {module.name: code_lines(module) for module in modules}
    public = Counter(one for module in modules for one in public_names(module))
    pairs = arrows(modules, name)
    return {
        "lines": sum(module.text.count("\n") for module in modules),
        "files": len(modules),
        "lines of code": sum(code.values()),
        "lines of docstrings": sum(len(documented(m.tree)) for m in modules),
        "public names": len(public),
        "names defined in several modules": sum(n > 1 for n in public.values()),
        f"files of less than {SMALL} lines of code": sum(
            0 < code[m.name] < SMALL and not m.package for m in modules
        ),
        "tests for None": sum(map(none_tests, modules)),
        f"tests for None in {', '.join(CORE)}": sum(
            none_tests(module) for module in modules if module.room in CORE
        ),
        "arrows between rooms": len(pairs),
        "floors": floors(pairs),
        "modules in a ring of imports": len(cycle(modules, name)),
    }


def main() -> None:
    """Print the measures."""
    root = Path(__file__).parents[1]
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "twotower_jax"
    for name, value in measure(package).items():
        print(f"{value:>8,}  {name}")


if __name__ == "__main__":
    main()
