"""Contenders in turns, each in a fresh process, and the median of what they measured.

Each turn has a fresh process, because peak memory cannot be separated otherwise, and because caches, threads and
allocators of one contender must not affect the next. This process imports nothing heavy: on Linux the peak memory of a
child starts at the memory of its parent at the fork.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environment import PEERS_PYTHON, ROOT

FOLDER = ROOT / ".fuelline" / "bench"
"""Inputs (created once), temporary folders and results."""
Argument = str | int | float | bool
Figures = dict[str, float]
"""The figures of a job, by name; ``peak_mb`` is always present."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The extent of the measurements."""

    quick: bool = False
    """A tenth of the work or less: shows that everything runs, measures little."""
    runs: int = 3
    """Turns of each contender."""
    threads: int = 2
    """Threads of torch. More threads than idle cores wait for one another and make training very slow."""

    def size(self, full: int, quick: int) -> int:
        """The number of rows, steps or requests."""
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One contender: a function that does the work once and returns its figures."""

    name: str
    target: str
    """``module:function``; called with ``scratch`` (a fresh folder's path) and ``arguments``."""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    peer: bool = False
    """Runs in the peers' environment."""
    runs: int = 0
    """The number of its turns, for long jobs; 0: as many as the others."""


class JobFailed(Exception):
    """A contender's process failed; its output has the reason."""


def in_turns(jobs: Sequence[Job], runs: int) -> dict[str, Figures]:
    """Run every job ``runs`` times, taking turns; the medians by the job's name.

    Raises:
        JobFailed: a job failed.
    """
    measured: dict[str, list[Figures]] = {job.name: [] for job in jobs}
    for turn in range(runs):
        for job in jobs:
            if turn >= (job.runs or runs):
                continue
            figures = run(job)
            measured[job.name].append(figures)
            say(f"  {job.name:<40} {turn + 1}/{job.runs or runs}  {_text(figures)}")
    return {name: _medians(turns) for name, turns in measured.items()}


def run(job: Job) -> Figures:
    """Run a job once, in a process and a folder of its own.

    Raises:
        JobFailed: it failed.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=FOLDER, prefix="scratch-"))
    try:
        answer = scratch / "figures.json"
        python = str(PEERS_PYTHON) if job.peer else sys.executable
        arguments = json.dumps({**job.arguments, "scratch": str(scratch)})
        command = [python, "-W", "ignore", "-m", "benchmarks.job", job.target, arguments, str(answer)]
        done = subprocess.run(command, cwd=ROOT, env=_clean(scratch), capture_output=True, text=True, check=False)
        if done.returncode:
            raise JobFailed(f"{job.name} ({job.target}) ended with {done.returncode}:\n{done.stderr[-4000:]}")
        figures: Figures = json.loads(answer.read_text())
        return figures
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prepared(name: str, target: str, **arguments: Argument) -> Path:
    """An input under ``FOLDER``, created once by ``target``; its name contains all that its content depends on."""
    path = FOLDER / name
    if not path.exists():
        say(f"  creating {name}")
        partial = path.with_name(f"partial-{name}")
        run(Job(name=name, target=target, arguments={**arguments, "path": str(partial)}))
        partial.rename(path)
    return path


def say(line: str) -> None:
    """Print a line of progress to standard error; standard output has the result."""
    print(line, file=sys.stderr, flush=True)


def _clean(scratch: Path) -> dict[str, str]:
    """The environment without a lake, a hub or telemetry."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FUELLINE_", "FEAST_", "MLFLOW_"))
    }
    quiet = {
        "GX_ANALYTICS_ENABLED": "false",
        "FEAST_USAGE": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**kept, **quiet, "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(scratch / "hub"), "TMPDIR": str(scratch)}


def _medians(turns: Sequence[Figures]) -> Figures:
    return {name: statistics.median(figures[name] for figures in turns) for name in turns[0]}


def _text(figures: Figures) -> str:
    return "  ".join(f"{name}={value:,.4g}" for name, value in figures.items())
