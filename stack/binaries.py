"""Finds a server's binary: on PATH, beside Python, or in Debian's folder of Postgres, which is not on PATH."""

import os
import shutil
import sys
from pathlib import Path

PACKAGES = {
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "rabbitmq-server": "rabbitmq-server",
    "prometheus": "prometheus",
}
"""The Debian package of each server that pip does not install."""


def find(name: str) -> str | None:
    """The path of a binary; None if it is not installed."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), *map(str, newest_first)]
    return shutil.which(name, path=os.pathsep.join(places))


def require(name: str, installation: str) -> str:
    """The path of a binary. Raises ``RuntimeError`` with the command that installs it."""
    if path := find(name):
        return path
    raise RuntimeError(f"{name} is not installed: {installation}")
