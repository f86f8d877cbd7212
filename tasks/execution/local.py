"""A launch plan as a process of its own on a laptop: what a cluster does with an execution, with files.

Each execution has files in the lake's ``runs`` folder: ``<name>.json``, what was asked for; ``<name>.log``, what it
said; ``<name>.state``, how it ended; and ``<name>.lock``, held as long as it lives. The lock is taken by whoever
starts it and handed on to the new process, so that there is no moment in which two could start one name, and none in
which a killed process looks alive: the kernel lets go of it, and no process id is ever compared. Who only looks takes
the lock for an instant, too; ``runs/.lock`` keeps that from a start.
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

ENTRY = "launchplans.local"
"""The module that runs a launch plan: it stands two floors above this one, so only its name is known here."""

_children: list[subprocess.Popen[bytes]] = []
"""Kept, because Python warns of a process that its starter forgets; it is meant to outlive it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The files of one execution."""

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        """One of its files: ``json``, ``log``, ``state``, ``lock``."""
        return self.folder / f"{self.name}.{kind}"

    def state(self) -> str:
        """``""`` where it never began, ``running`` where it did, then how it ended."""
        with suppress(FileNotFoundError):
            return self.path("state").read_text()
        return ""

    def mark(self, state: str) -> None:
        """Set the state, whole or not at all."""
        _replace(self.path("state"), state)


def run_of(name: str) -> Run:
    """The execution ``name`` of this process's lake."""
    return Run(folder=settings().folder / "runs", name=name)


def start(launch_plan: str, inputs: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """Start it unless it was started before; returns its log file, and whether it was.

    A start that died before the new process began leaves no state, and is made good by the next one.
    """
    run = run_of(name)
    request = write_request(launch_plan, inputs)
    with _alone(run.folder), _lock_of(run) as lock:
        already = lock is None or bool(run.state())
        if lock is not None and not already:
            _replace(run.path("json"), request)
            _spawn(run, lock)
    return str(run.path("log")), already


def phase(name: str) -> str:
    """``running``, ``succeeded``, ``failed``, ``aborted`` (killed, or the machine went down) or ``unknown``."""
    run = run_of(name)
    with _alone(run.folder), _lock_of(run) as lock:
        if lock is None:
            return "running"
        return {"": "unknown", "running": "aborted"}.get(run.state(), run.state())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process starts or looks."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


@contextmanager
def _lock_of(run: Run) -> Iterator[int | None]:
    """The execution's lock, or None while its process has it. One that was handed on stays with whom it was given."""
    with run.path("lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock.fileno()


def write_request(launch_plan: str, inputs: Mapping[str, Any]) -> str:
    """What was asked for, as JSON: the first line names the launch plan, the rest is Flyte's own form of its inputs.

    Raises:
        UserError: an input's type does not say what it is, as a bare list does not.
    """
    context = FlyteContextManager.current_context()
    literals = {}
    for name, value in inputs.items():
        try:
            literals[name] = TypeEngine.to_literal(context, value, type(value), TypeEngine.to_literal_type(type(value)))
        except (TypeError, ValueError, AssertionError) as error:
            raise UserError(f"input {name!r} of {launch_plan!r} cannot be handed on: {error}") from error
    return f"{launch_plan}\n{MessageToJson(LiteralMap(literals).to_flyte_idl())}\n"


def read_request(path: Path) -> tuple[str, LiteralMap]:
    """The launch plan's name and the inputs that ``write_request`` wrote."""
    from flyteidl.core.literals_pb2 import LiteralMap as Message

    launch_plan, _, literals = path.read_text().partition("\n")
    return launch_plan, LiteralMap.from_flyte_idl(Parse(literals, Message()))


def _spawn(run: Run, lock: int) -> None:
    """Begin a process in a session of its own, so that no terminal and no parent takes it along when it ends."""
    code = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH"))))
    with run.path("log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", ENTRY, str(run.path("json"))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path, "FLYTE_LOCAL_CACHE_ENABLED": "false"},
            pass_fds=(lock,),
            start_new_session=True,
        )
    _children.append(child)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(text)
    temporary.replace(path)
