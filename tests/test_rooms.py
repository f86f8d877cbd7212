"""The structure of the packages: the size of folders, no import cycles, unique class names, no foreign private names.

import-linter holds the order of packages and rooms (``[tool.importlinter]`` in ``pyproject.toml``).
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("lake", "features", "models", "serving", "reports", "tasks", "workflows", "launchplans", "cli", "stack")
MAX_MODULES = 18
ABOVE_THE_LAKE = re.compile(
    r"\b(canar(y|ies)|mlflow|optuna|trials?|shadow|rollouts?|weekly report|(?<!pika\.)adapters?)\b", re.IGNORECASE
)
"""Words of the packages above ``lake``. Contracts are left out: their rows describe all of the platform."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): ast.parse(path.read_text()) for package in PACKAGES for path in sources(package)}


def imports(name: str) -> set[str]:
    """Modules of the project that a module imports: at its top, in functions, and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members & MODULES.keys() or {node.module}
    return (found & MODULES.keys()) - {name}


def private_definitions(tree: ast.Module) -> set[str]:
    """Names with one leading underscore that a module defines: functions, classes, constants and attributes."""
    names = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    stored = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)]
    names |= {
        node.attr if isinstance(node, ast.Attribute) else node.id for node in stored if isinstance(node.ctx, ast.Store)
    }
    return {name for name in names if re.fullmatch(r"_[^_]\w*", name)}


def private_uses(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each private name that a module imports or reads from another object than ``self``, with the expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.name, f"from {node.module} import {alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.attr, ast.unparse(node)


def test_no_folder_holds_more_than_eighteen_modules() -> None:
    counts: dict[str, int] = defaultdict(int)
    for package in PACKAGES:
        for path in sources(package):
            counts[str(path.parent.relative_to(ROOT))] += path.stem not in ("__init__", "__main__")
    assert {folder: n for folder, n in counts.items() if n > MAX_MODULES} == {}


def test_no_import_cycle_between_modules() -> None:
    cycle: list[str] = []
    try:
        TopologicalSorter({name: imports(name) for name in MODULES}).prepare()
    except CycleError as error:
        cycle = error.args[1]
    assert cycle == []


def test_no_public_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_module_uses_a_private_name_of_another() -> None:
    private = {name: private_definitions(tree) for name, tree in MODULES.items()}
    everywhere = set().union(*private.values())
    uses = [(name, used, text) for name, tree in MODULES.items() for used, text in private_uses(tree)]
    assert [f"{name}: {text}" for name, used, text in uses if used in everywhere - private[name]] == []


def test_the_lake_has_no_word_of_the_packages_above_it() -> None:
    found = []
    for path in sources("lake"):
        if "contracts" not in path.parts:
            lines = enumerate(path.read_text().splitlines(), 1)
            found += [
                f"{path.relative_to(ROOT)}:{n}: {line.strip()}" for n, line in lines if ABOVE_THE_LAKE.search(line)
            ]
    assert found == []
