"""The digest of code moves with what a module does, and with nothing else."""

import ast
import shutil
from pathlib import Path

import pytest

import models.llm.code_version
from models.llm.code_digests import RECORDED
from models.llm.code_version import (
    PATHS,
    SELECTING_CODE,
    SETS,
    TABLE,
    TRAINING_CODE,
    code_digest,
    moved_rows,
    syntax_digest,
)

ROOT = Path(__file__).parents[3]
PINNED = ("features.definitions.infrastructure", "features.definitions.transforms")
"""Compute the values that a training set joins; those come from a pinned version, whatever computes the next ones."""
KEPT = ("lake.lake", "lake.tables.versions", "models.types")
"""Give back what is stored, and name it."""
FIRST = {
    "training": "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    "judging": "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    "retraining": "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    "tuning": "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    "selecting": "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
}
"""What commit a5622f7 recorded in keys under Python 3.11. A set leaves this list when its results change on purpose."""
LABELS = {
    *("adapters", "dataset", "evaluation", "held_out", "likelihood", "loop", "pair", "prompt", "proposals", "runtime"),
    *("statistics", "study", "training", "training_set", "trials", "tuning", "validation", "winner"),
    *("asof", "engine", "views"),
    *("joined_features", "training_sets"),
}
"""The labels of commit a5622f7. They are part of every digest."""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packages that digests are taken of from now on."""
    for package in ("models", "features", "lake"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(models.llm.code_version, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def loop(copied: Path) -> Path:
    """The copy of the training loop."""
    return copied / PATHS["loop"]


@pytest.mark.parametrize("name", SETS)
def test_the_table_has_the_present_syntax_of_every_set(name: str) -> None:
    known, _ = RECORDED[name]
    run = f"python -m {models.llm.code_version.__name__}"
    assert syntax_digest(*SETS[name]) == known, (
        f"a module of the set {name!r} was edited. If its results are the same (a replay gives the same bytes), run "
        f"`{run} keep`. If they change, run `{run} new {name}`: what that code decides is then computed again."
    )


def test_the_digests_in_keys_are_those_of_existing_lakes() -> None:
    assert {name: code_digest(*SETS[name]) for name in FIRST} == FIRST


def test_labels_stay_and_each_has_its_module() -> None:
    assert PATHS.keys() >= LABELS
    assert {label for labels in SETS.values() for label in labels} == PATHS.keys()
    assert [path for path in PATHS.values() if not (ROOT / path).is_file()] == []


def test_a_comment_or_docstring_does_not_move_it(loop: Path) -> None:
    before = syntax_digest(*TRAINING_CODE)
    changed = loop.read_text().replace('"""One optimizer step; its loss."""', '"""Otherwise."""')
    assert changed != loop.read_text()
    loop.write_text("# A comment.\n" + changed)
    assert syntax_digest(*TRAINING_CODE) == before


def test_imports_do_not_move_it(loop: Path) -> None:
    before = syntax_digest(*TRAINING_CODE)
    guarded = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import json\n"
    loop.write_text(loop.read_text().replace("\nimport ", f"\nimport os.path as where\n{guarded}import ", 1))
    assert "where" in loop.read_text()
    assert syntax_digest(*TRAINING_CODE) == before
    loop.write_text(f"{loop.read_text()}\n\nif TYPE_CHECKING:\n    LATER = 1\n")
    assert syntax_digest(*TRAINING_CODE) != before


def test_a_move_of_the_module_does_not_move_it(loop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = syntax_digest(*TRAINING_CODE)
    (loop.parent / "elsewhere").mkdir()
    loop.rename(loop.parent / "elsewhere" / "rounds.py")
    monkeypatch.setitem(PATHS, "loop", f"{Path(PATHS['loop']).parent}/elsewhere/rounds.py")
    assert syntax_digest(*TRAINING_CODE) == before


def test_a_change_of_what_a_module_does_moves_it(loop: Path) -> None:
    before = code_digest(*TRAINING_CODE)
    changed = loop.read_text().replace("progress.step + 1", "progress.step + 2")
    assert changed != loop.read_text()
    loop.write_text(changed)
    assert code_digest(*TRAINING_CODE) != before
    assert code_digest(*TRAINING_CODE) == syntax_digest(*TRAINING_CODE)


@pytest.mark.parametrize(
    ("code", "other"),
    [
        *[
            ("x = None", "x = 0"),
            ("x = 1", "x = True"),
            ("x = 'b'", "x = b'b'"),
            ("x = []", "x = ()"),
            ("x = ''", "x = ' '"),
        ],
        *[
            ("def f(): return", "def f(): return None"),
            ("x: int", "x: int = None"),
            ("async def f(): pass", "def f(): pass"),
        ],
        *[("a if b else c", "c if b else a"), ("f(a)", "f(*a)"), ("f(a, b)", "f(a)(b)")],
    ],
)
def test_code_that_differs_has_another_digest(loop: Path, code: str, other: str) -> None:
    loop.write_text(code)
    before = syntax_digest("loop")
    loop.write_text(other)
    assert syntax_digest("loop") != before


def test_a_join_that_changes_moves_the_code_that_selects(copied: Path) -> None:
    before = code_digest(*SELECTING_CODE)
    join = copied / PATHS["asof"]
    changed = join.read_text().replace(".available <= e.", ".available < e.")
    assert changed != join.read_text()
    join.write_text(changed)
    assert code_digest(*SELECTING_CODE) != before


def test_an_edit_without_a_change_of_results_keeps_what_is_recorded(loop: Path) -> None:
    loop.write_text(f"{loop.read_text()}\n\nUNUSED = 1\n")
    rows = rows_of(moved_rows())
    assert {name: recorded for name, (_, recorded) in rows.items()} == {n: old for n, (_, old) in RECORDED.items()}
    assert {name: syntax for name, (syntax, _) in rows.items()} == {n: syntax_digest(*SETS[n]) for n in SETS}


def test_an_edit_with_a_change_of_results_records_a_new_digest_for_every_set_with_that_code(loop: Path) -> None:
    loop.write_text(f"{loop.read_text()}\n\nUNUSED = 1\n")
    rows = rows_of(moved_rows(["training"]))
    started = {"training", "retraining", "tuning"}
    assert {name for name, (syntax, recorded) in rows.items() if recorded == syntax} >= started
    assert {n for n, (_, recorded) in rows.items() if recorded != RECORDED[n][1]} == started


def test_the_command_writes_the_table(loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.llm.code_version, "TABLE", Path(shutil.copy(TABLE, tmp_path)))
    models.llm.code_version.main(["keep"])
    assert models.llm.code_version.TABLE.read_text() == TABLE.read_text()
    loop.write_text(f"{loop.read_text()}\n\nUNUSED = 1\n")
    models.llm.code_version.main(["new", "training"])
    written = models.llm.code_version.TABLE.read_text()
    assert written.startswith('"""')
    assert rows_of(written)["training"] == (syntax_digest(*TRAINING_CODE),) * 2


def test_the_code_that_selects_has_every_module_that_decides_a_training_set() -> None:
    own = {module_of(PATHS[label]) for label in SELECTING_CODE}
    needed = {module for name in own if not name.startswith("lake.") for module in imported(name)}
    joining = {module for module in needed if not module.startswith("lake.")}
    written = {module for module in imported(module_of(PATHS["training_set"])) if module.startswith("lake.")}
    assert (joining | written) - own == {*PINNED, *KEPT}


def rows_of(text: str) -> dict[str, tuple[str, str]]:
    rows: dict[str, tuple[str, str]] = ast.literal_eval(text.partition("RECORDED = ")[2])
    return rows


def imported(module: str) -> set[str]:
    """Modules of the packages that a module imports names or modules from."""
    tree = ast.parse(source_of(module).read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    named = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | {str(n.module) for n in froms}
    return {name for name in named if "." in name and source_of(name).is_file()}


def module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def source_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"
