"""What a function may call: every function and class of the project that can be reached from it, read from the source.

A reference counts as a call, and a class is reached as a whole, so the result may hold too much and, apart from names
that are put together at run time, never too little. Annotations do not count.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "lake", "launchplans", "models", "reports", "serving", "tasks", "workflows")


@dataclass(kw_only=True)
class Module:
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


@functools.cache
def module(name: str) -> Module | None:
    """A module of the project by its dotted name; None for any other."""
    path = ROOT.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    file = next((file for file in files if file.is_file()), None)
    if file is None or (name.split(".")[0] not in PACKAGES and "." in name):
        return None
    found = Module()
    for node in ast.parse(file.read_text()).body:
        found.imports |= _imports([node])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            found.definitions |= dict.fromkeys(names, node)
        elif isinstance(node, ast.If):  # `if __name__ == "__main__"`
            found.definitions["__main__"] = node
    return found


def reached(start: str, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
    """The dotted names, also of other libraries, that can be reached from the dotted name ``start``.

    Args:
        start: of a function.
        without: names that are not followed.
    """
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in without:
            seen.add(name)
            waiting += _references(name)
    return frozenset(seen)


@functools.cache
def _references(dotted: str) -> list[str]:
    where, _, name = dotted.rpartition(".")
    home = module(where)
    if home is None:
        return []
    if name in home.definitions:
        node = home.definitions[name]
        known = home.imports | _imports(ast.walk(node))
        known |= {own: f"{where}.{own}" for own in home.definitions if own not in _imports(ast.walk(node))}
        return [found for part in _executed(node) if (found := _named(part, known))]
    return [home.imports[name]] if name in home.imports else []


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _executed(child)


def _named(node: ast.AST, known: dict[str, str]) -> str:
    """The dotted name that a name or an attribute of an imported module stands for; empty for any other node."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := _named(node.value, known)):
        return f"{base}.{node.attr}"
    return ""


def _imports(nodes: Iterable[ast.AST]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.split(".")[0]
                found[alias.asname or name] = name
    return found
