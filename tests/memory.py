"""Temporary folders of a run in memory, if there is space: lakes and SQLite synchronize every write to the disk."""

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
    """From now on this process and those that it starts create their temporary folders in memory.

    Does nothing if ``TMPDIR`` is set or memory has too little space.

    Returns:
        A function that removes them at the end of the run.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < FREE_BYTES:
        return lambda: None
    _remove_those_of_killed_runs()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY))
    folder.chmod(0o755)  # Postgres runs as another user and has its data in it
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
    """A run that is alive holds the lock of its folder."""
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
