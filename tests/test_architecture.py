"""The rules of the house, as code: imports point left, names are unique, nothing unpickles."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("ethics", "features", "models", "scoring", "serving")
MODULES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
ONLY_USER = {
    "mlflow": ("models/registry.py", "models/tracking.py"),
    "fairlearn": ("ethics/fairness.py",),
    "bentoml": ("serving/service.py",),
    "matplotlib": ("models/plots.py",),
    "optuna": ("models/selection.py",),
}
SLOW_TO_IMPORT = {
    "pydantic",
    "sqlalchemy",
    "rich",
    "mlflow",
    "matplotlib",
    "optuna",
    "lightgbm",
    "fairlearn",
    "bentoml",
    "sklearn",
    "numba",
    "polars",
    "scipy",
    "pandas",
}


def imports_of(path):
    """The imported top-level names and whether each stands inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        yield from ((name.partition(".")[0], id(node) in inside) for name in names)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_left(path):
    allowed = ORDER[: ORDER.index(path.relative_to(ROOT).parts[0]) + 1]
    to_the_right = {name for name, _ in imports_of(path) if name in ORDER and name not in allowed}
    assert not to_the_right, f"{name_of(path)} imports {sorted(to_the_right)}, which stand to its right"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_framework_has_one_user_and_no_module_unpickles(path):
    names = {name for name, _ in imports_of(path)}
    assert not names & {"pickle", "cloudpickle", "joblib", "dill", "shelve"}
    for framework, owners in ONLY_USER.items():
        assert framework not in names or name_of(path) in owners, f"only {' and '.join(owners)} may import {framework}"


def test_no_two_modules_share_a_name():
    names = [path.stem for path in MODULES if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("package", ORDER)
def test_the_import_finds_this_checkout(package):
    assert Path(importlib.import_module(package).__file__).parent == ROOT / package


def test_the_command_line_imports_nothing_slow():
    """What keeps ``ennakko --help`` under half a second."""
    code = "import sys, serving.cli; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not SLOW_TO_IMPORT & set(loaded.stdout.split())
