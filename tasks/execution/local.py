"""Run a launch plan as a process on a laptop, with files for what a cluster keeps of an execution.

Each execution has files in the lake's ``runs`` folder: ``<name>.json``, its request; ``<name>.log``, its output;
``<name>.state``, its state; and ``<name>.lock``, which is locked while it runs. The starting process takes the lock and
passes it to the new process. So two processes never start the same name, and a killed process never appears to be
running: the kernel releases its lock, and no process ids are compared. Reading the state also takes the lock for a
moment; ``runs/.lock`` excludes a start during that moment.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from google.protobuf.json_format import MessageToJson, Parse

from errors import UserError
from settings import settings

_children: list[subprocess.Popen[bytes]] = []
"""Kept, because Python warns about a child process without a reference; they outlive this process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalExecution:
    """The files of one execution."""

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        """One of its files: ``json``, ``log``, ``state``, ``lock``."""
        return self.folder / f"{self.name}.{kind}"

    def state(self) -> str:
        """``""`` before it started, ``running``, then how it ended."""
        with suppress(FileNotFoundError):
            return self.path("state").read_text()
        return ""

    def replace(self, kind: str, text: str) -> None:
        """Write one of its files atomically."""
        temporary = self.path(f"{os.getpid()}.part")
        temporary.write_text(text)
        temporary.replace(self.path(kind))


def local_execution(name: str) -> LocalExecution:
    """The execution ``name`` of this process's lake."""
    return LocalExecution(folder=settings().folder / "runs", name=name)


def start(launch_plan: str, inputs: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """Start it unless it was started before; returns its log file, and whether it was started before.

    A start that was killed before the new process began leaves no state, so the next start repeats it.
    """
    run = local_execution(name)
    request = write_request(launch_plan, inputs)
    with _lock_of(run) as lock:
        already = lock is None or bool(run.state())
        if lock is not None and not already:
            run.replace("json", request)
            _spawn(run, lock)
    return str(run.path("log")), already


def phase(name: str) -> str:
    """``running``, ``succeeded``, ``failed``, ``aborted`` (killed, or the machine went down) or ``unknown``."""
    run = local_execution(name)
    if not run.path("json").exists():
        return "unknown"
    with _lock_of(run) as lock:
        if lock is None:
            return "running"
        return {"": "unknown", "running": "aborted"}.get(run.state(), run.state())


@contextmanager
def _lock_of(run: LocalExecution) -> Iterator[int | None]:
    """The execution's lock, or None while its process holds it. A lock that was passed on stays with its process.

    Meanwhile no other process starts an execution or reads a state.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / ".lock").open("w") as every, run.path("lock").open("w") as lock:
        fcntl.flock(every, fcntl.LOCK_EX)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock.fileno()


def write_request(launch_plan: str, inputs: Mapping[str, Any]) -> str:
    """The request: the first line names the launch plan, the rest is the JSON of Flyte's literals of its inputs.

    Raises UserError where Flyte cannot convert an input, for example a list without an element type.
    """
    context = FlyteContextManager.current_context()
    literals = {}
    for name, value in inputs.items():
        try:
            literals[name] = TypeEngine.to_literal(context, value, type(value), TypeEngine.to_literal_type(type(value)))
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(f"input {name!r} of {launch_plan!r} cannot be converted: {error}") from error
    return f"{launch_plan}\n{MessageToJson(LiteralMap(literals).to_flyte_idl())}\n"


def read_request(path: Path) -> tuple[str, LiteralMap]:
    """The launch plan's name and the inputs that ``write_request`` wrote."""
    from flyteidl.core.literals_pb2 import LiteralMap as Message

    launch_plan, _, literals = path.read_text().partition("\n")
    return launch_plan, LiteralMap.from_flyte_idl(Parse(literals, Message()))


def _spawn(run: LocalExecution, lock: int) -> None:
    """Start a process in its own session, so that it survives its terminal and its parent."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    with run.path("log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "launchplans.local", str(run.path("json"))],  # by name: this package is below it
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path, "FLYTE_LOCAL_CACHE_ENABLED": "false"},
            pass_fds=(lock,),
            start_new_session=True,
        )
    _children.append(child)
