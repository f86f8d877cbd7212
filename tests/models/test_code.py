"""The digest of code moves with what a module does, and with nothing else."""

import shutil
from pathlib import Path

import pytest

import models.code
from models.code import TRAINING_CODE, code_digest


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the training loop that the digest is taken of from now on."""
    for name in TRAINING_CODE:
        shutil.copy(Path(models.code.__file__).parent / f"{name}.py", tmp_path)
    monkeypatch.setattr(models.code, "__file__", str(tmp_path / "code.py"))
    return tmp_path / "loop.py"


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
