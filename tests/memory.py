"""Temporary folders of a run in memory, where there is room: lakes and SQLite synchronize every write to the disk."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

MEMORY = Path("/dev/shm")
FREE_BYTES = 4 << 30
"""Free bytes that the memory file system must have: five times what a run was measured to hold at once."""
PREFIX = "fuelline-tests-"


def temporary_folders_in_memory() -> Callable[[], None]:
    """Let this process and those that it starts make their temporary folders in memory, from here on.

    Does nothing where ``TMPDIR`` says where they go, or where memory has not the room.

    Returns:
        What removes them at the end of the run.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < FREE_BYTES:
        return lambda: None
    _remove_those_of_killed_runs()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    folder.chmod(0o755)  # Postgres, under a user of its own, has its data in it
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)

    def remove() -> None:
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)

    return remove


def _remove_those_of_killed_runs() -> None:
    """A run locks its folder for as long as it lives."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
