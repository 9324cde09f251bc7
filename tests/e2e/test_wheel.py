"""The wheel holds everything and works where the sources are not."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import twotower_jax

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "experiments" / "conf"


def call(*command, cwd, **env):
    """Run a command and return its output; fail with it if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, so that no old build folder leaks into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("twotower_jax", "conf", "experiments/conf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    # Without isolation: the build needs no network.
    words = ("-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", ".")
    call(sys.executable, *words, cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """Return a folder with nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("site")
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    call(sys.executable, *words, "--target", folder, wheel, cwd=folder)
    return folder


def test_every_module_and_config_file_is_in_the_wheel(wheel):
    expected = {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("twotower_jax/**/*.py")
    } | {
        f"twotower_jax/{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in (("conf", ROOT / "conf"), ("studies", STUDIES))
        for path in folder.glob("**/*.yaml")
    }
    assert "twotower_jax/studies/experiment/papers/bsl.yaml" in expected
    assert "twotower_jax/conf/config.yaml" in expected
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not expected - names
    assert not [name for name in names if name.startswith(("tests", "conf/"))]


def test_the_installed_wheel_runs_from_an_empty_folder(site, tmp_path):
    where = "import twotower_jax; print(twotower_jax.__file__)"
    path = call(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(site))
    assert Path(path.strip()).is_relative_to(site)
    words = ("-m", "twotower_jax", "data", "list")
    listed = call(sys.executable, *words, cwd=tmp_path, PYTHONPATH=str(site))
    assert "simulator" in listed


def test_the_installed_wheel_finds_its_configuration(site, tmp_path):
    words = ("-m", "twotower_jax", "train", "--cfg", "job", "seed=7")
    composed = call(sys.executable, *words, cwd=tmp_path, PYTHONPATH=str(site))
    assert "seed: 7" in composed and "source: simulator" in composed


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^]]*)\]", changes, re.MULTILINE)
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [
        project["version"]
    ]
    assert released[0] == project["version"] == twotower_jax.__version__
