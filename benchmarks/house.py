"""Size, types, docstrings and wording of a package, counted from its sources.

    python benchmarks/house.py [PACKAGE] [--list]

PACKAGE is the folder of a Python package; the default is `twotower_jax`. `--list` adds
one line per offending place. Nothing is imported or run, and the standard library is
enough, so any package of any version can be measured.

Every `.py` file below PACKAGE counts, except tests: files named `test_*.py`,
`*_test.py` or `conftest.py` and files in a folder named `test`, `tests` or `testing`.

Top level: the `.py` files directly in PACKAGE, and its folders that contain Python.

Length: the lines from `def` to the last line, docstring included. Nested functions
count as functions of their own.

Public: functions of a module and methods of its classes, where the names of function
and class start without an underscore; the name of the module does not count, for many
packages re-export from private modules. Nested functions and overloads are not public.
A function is annotated when its result and all its parameters except `self` and `cls`
are; it is documented when it has a docstring.

Arrays: a public documented function handles arrays when an annotation of it names
an array type (`Array`, `ndarray`, `ArrayLike`, `Float[...]` and the like). It states
shapes when its docstring contains a pair of brackets that holds axes (`[batch, dim]`,
`(n,)`), the word "shape", "scalar" or "-D", or when an annotation contains the axes.

Args: of the public documented functions with two or more parameters, the share whose
docstring has a section `Args:`, `Arguments:`, `Parameters` or `:param`.

Doctests: docstrings with at least one `>>>`, and the number of `>>>` in all.

Comments: lines that hold a comment alone, of all lines that are not blank.

Wording: occurrences per 10,000 words of docstrings, comments, `README.md` and
`docs/**/*.md` next to PACKAGE. Fenced code blocks and the verdict "cannot tell" are
left out.

Cycles: groups of modules that import each other, with the imports inside functions and
without those under `if TYPE_CHECKING`. An import of `a.b` leads to `a.b`, not to `a`.
"""

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LONG, MANY = 40, 6
Function = ast.FunctionDef | ast.AsyncFunctionDef

ARRAYS = re.compile(
    r"\b(Array|ndarray|NDArray|ArrayLike|ArrayTree|Float|Int|Bool|Shaped|Num)\b"
)
SHAPES = re.compile(
    r"\[[\w. ,*+/-]+\]|\(\w*,[\w ,*+/-]*\)|\bshapes?\b|\bscalars?\b|\b\d-?[dD]\b", re.I
)
ARGS = re.compile(r"^\s*(Args|Arguments|Parameters|Keyword Args):?\s*$|:param ", re.M)
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
FENCED = re.compile(r"^ *(```|~~~).*?^ *\1", re.M | re.S)
HABITS = {
    '"what a/the/is ..."': r"what (?:an?|the|is)",
    '"tells", "says"': r"(?<!cannot )(?:tells?|told|says?|said)",
    '"is no ..."': r"(?:is|are|was|were) no",
}


class Place(NamedTuple):
    """One offending place: a point of the table, file and line, and its name."""

    point: str
    where: str
    name: str


class Measure(NamedTuple):
    """One row of the table: its name, its value, and the offending places."""

    point: str
    value: str
    places: list[Place]


class Module(NamedTuple):
    """One source file, parsed."""

    name: str
    path: Path
    text: str
    tree: ast.Module


class Routine(NamedTuple):
    """One function, where it is, and whether users of the package can name it."""

    where: str
    name: str
    node: Function
    public: bool

    @property
    def doc(self) -> str:
        """The docstring, or an empty text."""
        return ast.get_docstring(self.node) or ""

    @property
    def parameters(self) -> list[ast.arg]:
        """All parameters except `self` and `cls`."""
        args = self.node.args
        ordered = [*args.posonlyargs, *args.args]
        if ordered and ordered[0].arg in ("self", "cls"):
            ordered = ordered[1:]
        starred = [arg for arg in (args.vararg, args.kwarg) if arg]
        return [*ordered, *args.kwonlyargs, *starred]

    @property
    def annotations(self) -> list[str]:
        """The annotations of the parameters and of the result, as text."""
        nodes = [*(arg.annotation for arg in self.parameters), self.node.returns]
        return [ast.unparse(node) for node in nodes if node]


def is_test(path: Path) -> bool:
    """Return whether a path inside a package belongs to its tests."""
    folders = {"test", "tests", "testing"} & set(path.parts[:-1])
    stem = path.stem
    return (
        bool(folders)
        or stem.startswith("test_")
        or stem.endswith(("_test",))
        or (stem == "conftest")
    )


def read_modules(package: Path) -> list[Module]:
    """Return every module of a package that is not a test, sorted by path."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if is_test(inside):
            continue
        parts = (package.name, *inside.with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        modules.append(Module(name, path, text, ast.parse(text)))
    return modules


def _below(
    node: ast.AST, prefix: str, public: bool
) -> Iterator[tuple[str, Function, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}{child.name}"
            open_name = public and not child.name.startswith("_")
            if isinstance(child, Function):
                overload = any(
                    "overload" in ast.unparse(d) for d in child.decorator_list
                )
                yield name, child, open_name and not overload
                yield from _below(child, f"{name}.", False)
            else:
                yield from _below(child, f"{name}.", open_name)
        else:
            yield from _below(child, prefix, public)


def routines(modules: list[Module], root: Path) -> list[Routine]:
    """Return every function and method of the modules."""
    found = []
    for module in modules:
        for name, node, is_public in _below(module.tree, "", True):
            where = f"{module.path.relative_to(root)}:{node.lineno}"
            found.append(Routine(where, name, node, is_public))
    return found


def share(
    point: str, short: str, functions: list[Routine], bad: list[Routine]
) -> Measure:
    """Return the row of a share of functions, with the functions that lower it."""
    total = len(functions)
    percent = 100 * (total - len(bad)) / total if total else 100.0
    value = f"{percent:.1f} % of {total}"
    return Measure(point, value, [Place(short, f.where, f.name) for f in bad])


def length_and_parameters(functions: list[Routine]) -> list[Measure]:
    """Return the rows of long functions and of functions with many parameters."""
    lines = [((f.node.end_lineno or 0) - f.node.lineno + 1, f) for f in functions]
    long = [
        Place("long", f.where, f"{f.name}: {n} lines") for n, f in lines if n > LONG
    ]
    many = [
        Place("parameters", f.where, f"{f.name}: {len(f.parameters)} parameters")
        for f in functions
        if len(f.parameters) > MANY
    ]
    rate = 100 * len(long) / max(len(functions), 1)
    return [
        Measure(f"functions over {LONG} lines", f"{rate:.1f} %, {len(long)}", long),
        Measure(f"functions with over {MANY} parameters", str(len(many)), many),
    ]


def public_functions(functions: list[Routine]) -> list[Measure]:
    """Return the rows of annotations, docstrings, shapes and Args sections."""
    public = [f for f in functions if f.public]
    bare = [f for f in public if len(f.annotations) <= len(f.parameters)]
    silent = [f for f in public if not f.doc]
    arrays = [f for f in public if f.doc and ARRAYS.search(" ".join(f.annotations))]
    axes = re.compile(r"\w+\[[^\]]*['\"]")
    shapeless = [
        f
        for f in arrays
        if not SHAPES.search(f.doc) and not axes.search(" ".join(f.annotations))
    ]
    several = [f for f in public if f.doc and len(f.parameters) >= 2]
    sectionless = [f for f in several if not ARGS.search(f.doc)]
    return [
        share("public functions annotated", "annotate", public, bare),
        share("public functions documented", "document", public, silent),
        share("public array functions with shapes", "shapes", arrays, shapeless),
        share("Args sections, 2 parameters or more", "args", several, sectionless),
    ]


def docstrings(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring of a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield getattr(node.body[0], "lineno", 1), text


def comments(module: Module) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, whether it stands alone) of every comment of a module."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            yield token.start[0], token.string.lstrip("# "), alone


def texts(modules: list[Module], root: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (file, first line, prose) of docstrings, comments, README and docs."""
    for module in modules:
        path = str(module.path.relative_to(root))
        for line, text in docstrings(module):
            yield path, line, text
        for line, text, _ in comments(module):
            yield path, line, text
    for page in [root / "README.md", *sorted(root.glob("docs/**/*.md"))]:
        if page.is_file():
            text = page.read_text(encoding="utf-8")
            blank = FENCED.sub(lambda block: "\n" * block.group().count("\n"), text)
            yield str(page.relative_to(root)), 1, blank


def wording(modules: list[Module], root: Path) -> list[Measure]:
    """Return one row per habit of wording: its frequency and its places."""
    prose = list(texts(modules, root))
    words = sum(len(WORD.findall(text)) for _, _, text in prose)
    rows = []
    for habit, pattern in HABITS.items():
        places = []
        for path, first, text in prose:
            for hit in re.finditer(rf"\b{pattern}\b", text, re.IGNORECASE):
                line = first + text.count("\n", 0, hit.start())
                around = text[max(hit.start() - 30, 0) : hit.end() + 30]
                name = " ".join(around.split())
                places.append(Place("wording", f"{path}:{line}", name))
        rate = 10_000 * len(places) / max(words, 1)
        value = f"{rate:.1f} per 10,000 words, {len(places)}"
        rows.append(Measure(habit, value, places))
    return rows


def lines(modules: list[Module], root: Path) -> list[Measure]:
    """Return the rows of doctests, comment lines and the largest file."""
    tested = [text.count(">>>") for m in modules for _, text in docstrings(m)]
    alone = sum(only for m in modules for _, _, only in comments(m))
    full = sum(bool(line.strip()) for m in modules for line in m.text.splitlines())
    sizes = sorted(
        ((len(m.text.splitlines()), str(m.path.relative_to(root))) for m in modules),
        reverse=True,
    )
    large = [Place("file", path, f"{n} lines") for n, path in sizes if n > 300]
    return [
        Measure("doctests", f"{sum(map(bool, tested))}, {sum(tested)} `>>>`", []),
        Measure("comment lines", f"{100 * alone / max(full, 1):.1f} %", []),
        Measure("largest file", "{} lines, {}".format(*sizes[0]), large),
    ]


def not_none(modules: list[Module], root: Path) -> Measure:
    """Return the row of assertions that a value is not None."""
    places = []
    for module in modules:
        for node in ast.walk(module.tree):
            text = ast.unparse(node) if isinstance(node, ast.Assert) else ""
            if "is not None" in text:
                where = f"{module.path.relative_to(root)}:{node.lineno}"
                places.append(Place("assert", where, text))
    return Measure("`assert ... is not None`", str(len(places)), places)


def imported(module: Module, names: set[str]) -> set[str]:
    """Return the modules of the package that a module imports."""
    base = module.name.split(".")
    package = base if module.path.stem == "__init__" else base[:-1]
    found = set()
    nodes = [module.tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes.extend(node.orelse)
            continue
        nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in names else source)
    return (found & names) - {module.name}


def cycles(modules: list[Module]) -> Measure:
    """Return the row of groups of modules that import each other."""
    names = {module.name for module in modules}
    edges = {module.name: imported(module, names) for module in modules}
    reach: dict[str, set[str]] = {}
    for name in edges:
        seen: set[str] = set()
        nodes = list(edges[name])
        while nodes:
            node = nodes.pop()
            if node not in seen:
                seen.add(node)
                nodes.extend(edges[node])
        reach[name] = seen
    groups = {
        tuple(sorted(b for b in reach[a] if a in reach[b]))
        for a in edges
        if a in reach[a]
    }
    places = [Place("cycle", group[0], ", ".join(group)) for group in sorted(groups)]
    return Measure("import cycles", str(len(groups)), places)


def top_level(package: Path, modules: list[Module]) -> Measure:
    """Return the row of files and folders at the top of a package."""
    inside = [module.path.relative_to(package).parts for module in modules]
    files = sum(len(parts) == 1 for parts in inside)
    folders = len({parts[0] for parts in inside if len(parts) > 1})
    return Measure("top-level .py files / folders", f"{files} / {folders}", [])


def measure(package: Path) -> list[Measure]:
    """Return every row of the table for one package."""
    package = package.resolve()
    root = package.parent
    modules = read_modules(package)
    functions = routines(modules, root)
    return [
        top_level(package, modules),
        *length_and_parameters(functions),
        *public_functions(functions),
        *lines(modules, root),
        *wording(modules, root),
        not_none(modules, root),
        cycles(modules),
    ]


def main() -> None:
    """Print the table, and the offending places with `--list`."""
    here = Path(__file__).resolve().parents[1] / "twotower_jax"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", nargs="?", type=Path, default=here)
    parser.add_argument("--list", action="store_true", help="print offending places")
    options = parser.parse_args()
    if not any(options.package.glob("**/*.py")):
        parser.error(f"{options.package} contains no Python file")
    rows = measure(options.package)
    for row in rows:
        print(f"{row.point:<38}{row.value}")
    if options.list:
        for place in (place for row in rows for place in row.places):
            print(f"{place.point}: {place.where}: {place.name}")


if __name__ == "__main__":
    main()
