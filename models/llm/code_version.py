"""The version of the code that decides a result, as training keys and cache versions contain it.

It is a digest of the syntax of the modules that decide the result. So no version number is maintained by hand, and a
release that changes no results trains nothing again. Imports, comments, docstrings and layout do not count. Every
module counts under a *label* that never changes; when a module moves, only its path in ``PATHS`` changes.

Other edits that change no results (a renamed function, a split module) do move the digest. For those,
``models.llm.code_digests`` maps the digest of the present syntax of each set of modules to the digest that is
*recorded* in keys, in lakes that exist. After an edit of one of these modules,
``tests/models/llm/test_code_version.py`` fails until the table has a row for the new syntax:

- The edit changes no results (a replay gives the same bytes): ``python -m models.llm.code_version keep``. Keys stay.
- The edit changes results: ``python -m models.llm.code_version new training judging ...`` with the sets concerned.
  Their keys change, and what they decide is computed again, once. The rows of the other sets move as with ``keep``.
- The table conflicts in a merge: take either side, then ``keep``.

When a module is renamed or moved, change its path in ``PATHS`` and leave its label. When a module is split, add a label
for each new part to ``PATHS`` and to each set that has the old label; when two are merged, give both labels the same
path. Then ``keep``. Imports do not count, so the digest does not show that a name is now imported from another module
that does something else: import it under another name then, and use ``new``.
"""

import argparse
import ast
import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import models
from models.llm import code_digests
from models.llm.code_digests import RECORDED

ROOT = Path(models.__file__).parents[1]
"""The folder that contains the packages."""
TABLE = Path(code_digests.__file__)
PATHS = {
    "adapters": "models/llm/lora.py",
    "dataset": "models/llm/tokens.py",
    "evaluation": "models/evaluation/evaluate.py",
    "held_out": "models/data/held_out.py",
    "likelihood": "models/llm/likelihood.py",
    "loop": "models/training/loop.py",
    "pair": "models/evaluation/pair.py",
    "prompt": "models/prompt.py",
    "proposals": "models/tuning/propose.py",
    "runtime": "models/llm/distributed.py",
    "statistics": "models/evaluation/statistics.py",
    "study": "models/tuning/study.py",
    "training": "models/training/train.py",
    "training_set": "models/data/training_set.py",
    "trials": "models/tuning/trial.py",
    "tuning": "models/tuning/plan.py",
    "validation": "models/tuning/validation.py",
    "winner": "models/tuning/select.py",
    "asof": "features/batch/asof.py",
    "engine": "lake/tables/engine.py",
    "views": "features/definitions/views.py",
    "joined_features": "lake/contracts/joined_features.py",
    "training_sets": "lake/contracts/training_sets.py",
}
"""Where the module of each label is, below ``ROOT``. Labels are part of the digest: they stay, paths may change."""

TRAINING_CODE = ("adapters", "dataset", "likelihood", "loop", "prompt", "runtime", "training")
"""Labels of the modules that decide the weights."""
JUDGING_CODE = ("adapters", "evaluation", "held_out", "likelihood", "pair", "prompt", "statistics")
"""Labels of the modules that decide an evaluation."""
TUNING_CODE = (*TRAINING_CODE, "proposals", "statistics", "study", "trials", "tuning", "validation", "winner")
"""Labels of the modules that decide a hyperparameter search."""
SELECTING_CODE = ("training_set", "asof", "engine", "views", "joined_features", "training_sets")
"""Labels of the modules that decide a training set: its selection, the join with the features, and its columns."""
SETS = {
    "training": TRAINING_CODE,
    "judging": JUDGING_CODE,
    "retraining": (*TRAINING_CODE, *JUDGING_CODE),
    "tuning": TUNING_CODE,
    "selecting": SELECTING_CODE,
}
"""The sets of labels of which digests are taken, by their names in the table."""


def code_digest(*labels: str) -> str:
    """The digest that keys contain for the modules of these labels: the recorded one, or that of their syntax."""
    syntax = syntax_digest(*labels)
    return next((recorded for known, recorded in RECORDED.values() if known == syntax), syntax)


def syntax_digest(*labels: str) -> str:
    """sha256 over the present syntax of these modules. Equal under Python 3.11 to 3.13."""
    total = hashlib.sha256()
    for label in labels:
        total.update(f"{label}\0{_module_syntax((ROOT / PATHS[label]).read_text())}\n".encode())
    return total.hexdigest()


@functools.lru_cache
def _module_syntax(source: str) -> str:
    return "".join(_syntax(ast.parse(source)))


def _syntax(value: object) -> Iterator[str]:
    """The syntax tree as text, without absent and empty fields, because newer versions of Python add such fields."""
    if isinstance(value, ast.Constant):  # its other field is the prefix u of a string
        yield f"{type(value.value).__name__}:{value.value!r}"
    elif isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for name, part in ast.iter_fields(value):
            if part is not None and part != []:
                yield f"{name}="
                yield from _syntax(part)
                yield ","
        yield ")"
    elif isinstance(value, list):
        yield "["
        for part in value:
            if not _is_ignored(part):
                yield from _syntax(part)
                yield ","
        yield "]"
    else:
        yield repr(value)


def _is_ignored(node: object) -> bool:
    """Whether the node is an import, a block of imports for type checkers, or a docstring."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return not node.orelse and all(isinstance(part, ast.Import | ast.ImportFrom) for part in node.body)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Import | ast.ImportFrom)


def moved_rows(changed: Sequence[str] = ()) -> str:
    """Text of the table; the sets in ``changed``, and those that contain one of them, get a new recorded digest."""
    rows = ""
    for name, labels in SETS.items():
        syntax = syntax_digest(*labels)
        known, recorded = RECORDED.get(name, (syntax, syntax))
        if known != syntax and any(set(SETS[other]) <= set(labels) for other in changed):
            recorded = syntax
        rows += f'    "{name}": (\n        "{syntax}",\n        "{recorded}",\n    ),\n'
    introduction, _, _ = TABLE.read_text().partition("RECORDED = {")
    return f"{introduction}RECORDED = {{\n{rows}}}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Move the rows of the table of code digests to the present syntax."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keep", help="the edits change no results: keep every recorded digest")
    new = commands.add_parser("new", help="the edits change results: record new digests for these sets")
    new.add_argument("sets", nargs="+", choices=sorted(SETS))
    options = parser.parse_args(arguments)
    TABLE.write_text(moved_rows(options.sets if options.command == "new" else ()))
    sys.stdout.write(f"Wrote {TABLE}\n")


if __name__ == "__main__":
    main()
