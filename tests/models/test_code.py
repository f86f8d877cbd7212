"""The digest of code moves with what a module does, and with nothing else."""

import ast
import shutil
from pathlib import Path

import pytest

import models.code
from models.code import SELECTING_CODE, TRAINING_CODE, code_digest

ROOT = Path(__file__).parents[2]
PINNED = ("features.infrastructure", "features.transforms")
"""Compute the values that a training set joins; those come from a pinned version, whatever computes the next ones."""
KEPT = ("lake.lake", "lake.versions", "models.types")
"""Give back what is stored, and name it."""


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the training loop that the digest is taken of from now on."""
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(models.code, "__file__", str(tmp_path / "models" / "code.py"))
    return tmp_path / "models" / "loop.py"


def test_a_comment_or_docstring_does_not_move_it(loop: Path) -> None:
    before = code_digest(*TRAINING_CODE)
    loop.write_text("# A remark.\n" + loop.read_text().replace('"""What one step came to."""', '"""Otherwise."""'))
    assert code_digest(*TRAINING_CODE) == before


def test_a_change_of_what_a_module_does_moves_it(loop: Path) -> None:
    before = code_digest(*TRAINING_CODE)
    changed = loop.read_text().replace("progress.step + 1", "progress.step + 2")
    assert changed != loop.read_text()
    loop.write_text(changed)
    assert code_digest(*TRAINING_CODE) != before


def test_the_code_that_selects_has_every_module_that_decides_a_training_set() -> None:
    own = {name if "." in name else f"models.{name}" for name in SELECTING_CODE}
    needed = {one for name in own if not name.startswith("lake.") for one in imported(name)}
    joining = {one for one in needed if not one.startswith("lake.")}
    written = {one for one in imported("models.training_set") if one.startswith("lake.")}
    assert (joining | written) - own == {*PINNED, *KEPT}


def test_a_join_that_changes_moves_the_code_that_selects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest(*SELECTING_CODE)
    for package in ("models", "features", "lake"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(models.code, "__file__", str(tmp_path / "models" / "code.py"))
    assert code_digest(*SELECTING_CODE) == before
    join = tmp_path / "features" / "asof.py"
    changed = join.read_text().replace(".available <= e.", ".available < e.")
    assert changed != join.read_text()
    join.write_text(changed)
    assert code_digest(*SELECTING_CODE) != before


def imported(module: str) -> set[str]:
    """Modules of the packages that a module imports names or modules from."""
    tree = ast.parse(source_of(module).read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    named = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | {str(n.module) for n in froms}
    return {name for name in named if "." in name and source_of(name).is_file()}


def source_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"
