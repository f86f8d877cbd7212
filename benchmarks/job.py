"""The process of one turn: ``python -m benchmarks.job module:function '{"scratch": ...}' figures.json``.

A job does its own preparation, warm-up and timing; this module adds the peak memory of the process.
"""

import importlib
import json
import resource
import sys
from pathlib import Path


def main(target: str, arguments: str, answer: str) -> None:
    """Do the job and write its figures."""
    module, _, function = target.partition(":")
    figures = getattr(importlib.import_module(module), function)(**json.loads(arguments)) or {}
    peak = max(
        resource.getrusage(processes).ru_maxrss for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    megabyte = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes on Linux
    Path(answer).write_text(json.dumps({**figures, "peak_mb": peak / megabyte}))


if __name__ == "__main__":
    main(*sys.argv[1:])
