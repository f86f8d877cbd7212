"""What a module does, as a digest: the version of code that a training key and a cache version carry.

Nobody has to remember to bump anything, and a new release that changes no behaviour trains nothing again.
"""

import ast
import hashlib
from pathlib import Path

TRAINING_CODE = ("adapters", "dataset", "likelihood", "loop", "prompt", "runtime", "training")
"""Modules of ``models`` whose behaviour decides the weights."""
JUDGING_CODE = ("adapters", "evaluation", "held_out", "likelihood", "pair", "prompt", "statistics")
"""Modules of ``models`` whose behaviour decides an evaluation."""
TUNING_CODE = (*TRAINING_CODE, "proposals", "statistics", "study", "trials", "tuning", "validation", "winner")
"""Modules of ``models`` whose behaviour decides a search over hyperparameters."""
SELECTING_CODE = (
    "training_set",
    *("features.asof", "features.engine", "features.views"),
    *("lake.contracts.joined_features", "lake.contracts.training_sets"),
)
"""Modules whose behaviour decides a training set: its selection, the join with the features, and its columns."""


def code_digest(*modules: str) -> str:
    """sha256 over the syntax of these modules; comments, docstrings and layout do not move it.

    A module of another package than ``models`` is named with it: ``features.asof``.
    """
    total = hashlib.sha256()
    for name in modules:
        dotted = name if "." in name else f"models.{name}"
        tree = ast.parse((Path(__file__).parents[1] / f"{dotted.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [part for part in node.body if not _is_text(part)]
        total.update(f"{name}\0{ast.dump(tree)}\n".encode())
    return total.hexdigest()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
