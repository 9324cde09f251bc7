"""The house rules about imports, read from the sources without running them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "twotower_jax"
ROOT = Path(__file__).parents[2] / PACKAGE
EXEMPT = {PACKAGE, f"{PACKAGE}.__main__"}

# Rooms in the order in which data walks through them. A module imports from its
# own room and from rooms of rows further up.
ROOMS = (
    ("errors", "keys", "compiler", "signals", "progress", "arrays"),
    ("lazy",),
    ("registry",),
    # The library, its choices and the logs, each with its keys.
    ("losses", "optimizers", "positives", "data"),
    ("negatives", "model", "evaluation", "conf"),
    ("objective",),
    ("config",),  # composes what the rooms above declare
    ("training",),
    ("run",),
    ("export", "cards", "study"),
    ("report",),
    ("sweeps",),
    ("advice",),
    ("commands",),
    ("notebook", "cli"),
)
LEVELS = {name: level for level, room in enumerate(ROOMS) for name in room}

# A module of the room on the left never imports those on the right.
BLIND = {"evaluation": ("data.sources",)}

# Libraries that only the named modules import.
ONLY_IN = {
    "hydra": ("commands", "sweeps"),
    "omegaconf": ("commands", "sweeps"),
    "orbax": ("training.checkpoint",),
}

# A text that names a module of the package.
MODULE_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")

# Ways to run code that comes with a file.
UNSAFE = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}


def modules() -> dict[str, Path]:
    """Return the path of every module of the package by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def inside(name: str, parents: tuple[str, ...]) -> bool:
    """Say whether a dotted name is one of the parents or below one."""
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Return the dotted name that `from X import ...` means by X."""
    if not node.level:
        return node.module or ""
    base = module.split(".")
    base = base[: len(base) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, those within functions too.

    `from a import b` yields a.b, for b may be a module. A text that is the dotted name
    of a module of the package counts as an import: a table may import it later.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, is_package)
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)
        elif isinstance(node, ast.Constant) and MODULE_NAME.fullmatch(str(node.value)):
            yield node.lineno, str(node.value)


def import_faults(module: str, target: str) -> Iterator[str]:
    """Yield what is wrong with one import of one module."""
    here = module.removeprefix(f"{PACKAGE}.")
    library, _, rest = target.partition(".")
    if library in UNSAFE:
        yield f"{library} runs code from files"
    if library in ONLY_IN and not inside(here, ONLY_IN[library]):
        yield f"{library} belongs to {' and '.join(ONLY_IN[library])} only"
    if library != PACKAGE or rest == "__version__":
        return
    room, other = here.partition(".")[0], rest.partition(".")[0]
    if other not in LEVELS:
        yield f"'{target}' is in no room; import from the module that defines it"
    elif room != other and LEVELS[other] >= LEVELS[room]:
        yield f"wrong arrow: {room} is not below {other}"
    if inside(rest, BLIND.get(room, ())):
        yield f"{room} must not know {rest}"


def call_faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, fault) of every call that runs text or unpickles."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield node.lineno, f"{node.func.id}() runs text as code"
        for word in node.keywords:
            if word.arg == "allow_pickle" and ast.unparse(word.value) != "False":
                yield node.lineno, "allow_pickle runs code from files"


def violations(text: str, module: str, is_package: bool = False) -> list[str]:
    """Return one line for every rule that a module's text breaks."""
    tree = ast.parse(text)
    faults = list(call_faults(tree))
    if module not in EXEMPT:
        if module.split(".")[1] not in LEVELS:
            return [f"{module}: is in no room; add it to ROOMS"]
        for line, target in imports(tree, module, is_package):
            faults += [(line, fault) for fault in import_faults(module, target)]
    return [f"{module}:{line}: {fault}" for line, fault in sorted(set(faults))]


@pytest.mark.parametrize("module", modules())
def test_module_keeps_the_house_rules(module):
    path = modules()[module]
    found = violations(path.read_text(), module, path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("data.log", "from twotower_jax.run import run", "wrong arrow"),
        ("losses.softmax", "from twotower_jax import data", "wrong arrow"),
        ("data.log", "import twotower_jax.cli as c", "wrong arrow"),
        ("data.log", "from ..training import step", "wrong arrow"),
        ("data.log", "from .. import cli", "wrong arrow"),
        ("model.tower", "def f():\n    import twotower_jax.training", "wrong arrow"),
        (
            "training.optimizers",
            "import importlib\nimportlib.import_module('twotower_jax.cli')",
            "w",
        ),
        ("data.log", "LOADERS = {'a': 'twotower_jax.run.execute'}", "wrong arrow"),
        ("run.execute", "from twotower_jax import Config", "no room"),
        ("run.execute", "import twotower_jax", "no room"),
        ("attic", "x = 1", "add it to ROOMS"),
        (
            "losses.softmax",
            "from twotower_jax.config import Config",
            "wrong arrow",
        ),
        ("evaluation.top_k", "from twotower_jax.data import sources", "must not know"),
        ("evaluation.slices", "import twotower_jax.config", "wrong arrow"),
        ("run.execute", "from omegaconf import OmegaConf", "omegaconf belongs"),
        ("report.html", "import hydra.core.config_store", "hydra belongs"),
        ("run.execute", "import orbax.checkpoint as ocp", "orbax belongs"),
        ("run.records", "import pickle", "runs code"),
        ("cli", "eval('1')", "runs text"),
        ("cli", "exec('x = 1')", "runs text"),
        ("data.log", "np.load(path, allow_pickle=True)", "runs code"),
    ],
)
def test_the_checker_sees_a_fault(module, text, fault):
    found = violations(text, f"{PACKAGE}.{module}")
    assert len(found) == 1 and fault in found[0]


def test_the_checker_reads_relative_imports_of_a_package():
    name = f"{PACKAGE}.data"
    assert not violations("from .log import FunnelLog", name, is_package=True)
    assert violations("from ..cli import main", name, is_package=True)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("data.log", "from twotower_jax.errors import InputError"),
        ("data.split", "from twotower_jax.data.log import FunnelLog"),
        ("run.records", "from twotower_jax import __version__"),
        ("training.checkpoint", "import orbax.checkpoint as ocp"),
        ("commands.train", "import hydra\nfrom omegaconf import OmegaConf"),
        ("sweeps.plugins", "from hydra.core.utils import run_job"),
        ("model.tower", "jax.eval_shape(init, key)\nmodel.eval()"),
    ],
)
def test_the_checker_accepts_what_is_allowed(module, text):
    assert not violations(text, f"{PACKAGE}.{module}")


def test_the_package_is_found():
    assert {PACKAGE, f"{PACKAGE}.config", f"{PACKAGE}.errors"} <= set(modules())
