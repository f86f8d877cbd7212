"""What the README and docs/ name exists: links, headings, commands, options, workflows, files and modules.

Modules are read as syntax and not imported, so this takes about a second.
"""

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
HISTORY = ROOT / "CHANGELOG.md"
"""It names what was removed; only its links are checked."""
PACKAGES = "benchmarks|cli|features|lake|launchplans|models|reports|serving|stack|tasks|tests|workflows"
FOLDERS = f"{PACKAGES}|deploy|docs"
MODULE = re.compile(rf"(?<![\w/.@-])(?:{PACKAGES})(?:\.\w+)+\b(?![/(@-])")
FILE = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})(?:/[\w.-]+)*/?(?=[\s`:),;]|$)")
NOT_MODULES = re.compile(r"\.(py|md|sql|env|ya?ml|json)$")
BLOCK = re.compile(r"^ *```[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
WORKFLOW = re.compile(r"pyflyte run (workflows/\w+\.py) (\w+)")
STORED = frozenset({"models/agents", "reports/RUN/report.html"})
"""A chain of the ledger and an object in the store, which look like files of the project."""
RECIPES = frozenset({"docs/architecture.md"})
"""Its recipes name files that a reader is to add, each marked ``(new)``."""


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _code(text: str) -> Iterator[str]:
    """The code spans and the lines of the code blocks of a page; a line that ends in a backslash goes on."""
    for block in BLOCK.findall(text):
        yield from block.replace("\\\n", " ").splitlines()
    prose = BLOCK.sub("", text)
    yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose))


@functools.cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@functools.cache
def _names(module: Path) -> frozenset[str]:
    """What a module defines or imports at its top, and ``Class.member`` of its classes."""
    names = set()
    for node in ast.parse(module.read_text()).body:
        names |= _bound(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member}" for part in node.body for member in _bound(part)}
    return frozenset(names)


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}


def _exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path, rest = ROOT.joinpath(*parts[:length]), ".".join(parts[length:])
        for module in (path.with_suffix(".py"), path / "__init__.py"):
            if module.is_file():
                return not rest or rest in _names(module)
        if path.is_dir() and not rest:
            return True
    return False


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words of a command line begin with, and its other words.

    Raises:
        ValueError: there is no such command.
    """
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group):
        options = {name: option for option in command.params for name in option.opts}
        while rest and rest[0] in options:
            option = options[rest.pop(0)]
            if not getattr(option, "is_flag", False):
                rest.pop(0)
        if not rest or rest[0].startswith("-"):
            break
        name = rest.pop(0)
        if name not in command.commands:
            raise ValueError(f"no command {name!r} in {command.name!r}")
        found = command.commands[name]
        command = found.load() if hasattr(found, "load") else found
    return command, rest


def _fuelline_lines(text: str) -> Iterator[list[str]]:
    for line in _code(text):
        for found in re.finditer(r"(?:^|&& |[|] |\$ |\.venv/bin/|[A-Z_]+=\S+ +)fuelline((?: +[^\s#&|>;]+)*)", line):
            words = found[1].replace("'", "").split()
            if words and re.fullmatch(r"--?[a-z-]+|[a-z][a-z-]*", words[0]):
                yield words


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=_name)
def test_every_command_of_fuelline_exists_with_its_options(page: Path) -> None:
    wrong = []
    for words in _fuelline_lines(page.read_text()):
        try:
            command, rest = _command(words)
        except ValueError as error:
            wrong.append(f"fuelline {shlex.join(words)}: {error}")
            continue
        known = {name for option in command.params for name in option.opts} | {"--help", "-h", "--version"}
        wrong += [f"fuelline {shlex.join(words)}: {word}" for word in rest if _option(word) not in known | {""}]
    assert not wrong


def _option(word: str) -> str:
    return word.partition("=")[0] if re.match(r"--?[a-z]", word) else ""


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=_name)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for line in _code(page.read_text())
        for found in re.findall(r"(?:^|&& |\.\.\. )make((?: [a-z-]+)+)(?=$|[ \]#])", line)
        for word in found.split()
    }
    assert named <= targets


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=_name)
def test_every_workflow_that_pyflyte_runs_exists(page: Path) -> None:
    code = "\n".join(_code(page.read_text()))
    shown = set(re.findall(r"^\W*(\w+) = ", code, re.MULTILINE)) if _name(page) in RECIPES else set()
    wrong = [
        f"{path} {name}"
        for path, name in WORKFLOW.findall(code)
        if not (ROOT / path).is_file() or name not in _names(ROOT / path) | shown
    ]
    assert not wrong


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=_name)
def test_every_file_and_module_that_is_named_exists(page: Path) -> None:
    wrong, added = [], _added(page)
    for line in _code(page.read_text()):
        paths = {path.rstrip(".") for path in FILE.findall(line) if "/" in path} - STORED
        wrong += [path for path in paths if path not in added and not (ROOT / path).exists()]
        names = {name for name in MODULE.findall(line) if not NOT_MODULES.search(name)}
        wrong += [name for name in names if name not in added and not _exists(name)]
    assert not sorted(set(wrong))


def _added(page: Path) -> set[str]:
    """The files that a recipe adds, as paths and as modules."""
    paths = set(re.findall(r"`([\w/.-]+)` \(new\)", page.read_text())) if _name(page) in RECIPES else set()
    return paths | {path.removesuffix(".py").replace("/", ".") for path in paths}


@pytest.mark.parametrize(
    "dotted", ["lake.ingest.pipeline.Ingester.ingest_file", "models.spec", "tasks.training.by_hand"]
)
def test_a_name_that_exists_is_found(dotted: str) -> None:
    assert _exists(dotted)
    assert importlib.import_module(dotted.split(".")[0])


@pytest.mark.parametrize("dotted", ["lake.ingest.pipeline.ingest_file", "models.specification", "lake.tables.nothing"])
def test_a_name_that_does_not_exist_is_not_found(dotted: str) -> None:
    assert not _exists(dotted)
