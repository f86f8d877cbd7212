"""A server that outlives the command that started it, and is found and stopped by its folder. Linux only."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_children: "dict[int, subprocess.Popen[bytes]]" = {}
"""Processes that this process has started, by process id: it must wait for them when they end."""
PAUSE_S = 0.2
START_S = 120.0
END_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A server whose folder holds its data, its log and its process id."""

    folder: Path
    command: Sequence[str]
    answers: Callable[[], bool]
    """Whether the server is ready."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def start(self) -> None:
        """Start the server and wait until it is ready; does nothing if it runs. Raises ``RuntimeError`` with the end of
        its log if it ended, or was not ready within ``START_S``.
        """
        if self.running():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                list(self.command),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children[process.pid] = process
        self._pid.write_text(str(process.pid))
        end = time.monotonic() + START_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{self.command[0]} did not start: {self._log.read_text()[-1500:]}")
            time.sleep(PAUSE_S)

    def stop(self) -> None:
        """Stop the server and all processes of its session, and wait for their end."""
        if not self._pid.exists():
            return
        group = int(self._pid.read_text())
        if self.running():
            os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + END_S
        while self.running() and time.monotonic() < end:
            time.sleep(PAUSE_S)
        if self.running():
            os.killpg(group, signal.SIGKILL)
        if child := _children.pop(group, None):
            child.wait()
        self._pid.unlink()

    def running(self) -> bool:
        """Whether a process with the stored id exists and runs in this folder: the system reuses process ids."""
        try:
            process = Path("/proc", self._pid.read_text())
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and (process / "cwd").readlink() == self.folder.resolve()
        except OSError:
            return False

    @property
    def _pid(self) -> Path:
        return self.folder / "pid"

    @property
    def _log(self) -> Path:
        return self.folder / "out.log"
