"""A private Postgres on loopback with its data in one folder. It refuses root, so root runs it as ``postgres``."""

import os
import pwd
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from stack.binaries import require

PASSWORD = "fuelline"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """One server, identified by its folder."""

    folder: Path
    """The folder of its data; the user that runs it must be able to reach it."""
    port: int
    owner: str = "fuelline"
    """Its first user, a superuser."""

    def url(self, database: str = "postgres", user: str = "", password: str = PASSWORD) -> str:
        """The address of a database, as the owner or as another user."""
        return f"postgresql://{user or self.owner}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self, **settings: str) -> None:
        """Start the server and wait until it is ready; initializes an empty folder first."""
        if not (self.folder / "PG_VERSION").exists():
            self._initialize(SETTINGS | settings)
        if not self.running():
            options = ["-o", f"-p {self.port}", "-l", str(self.folder / "log"), "-w", "-t", "60"]
            self._call("pg_ctl", "-D", str(self.folder), *options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait; ``immediate`` is like a crash."""
        if self.running():
            self._call("pg_ctl", "-D", str(self.folder), "-m", mode, "-w", "stop")

    def running(self) -> bool:
        """Whether the server runs."""
        command = [_binary("pg_ctl"), "-D", str(self.folder), "status"]
        return subprocess.run(command, capture_output=True, check=False, **_as_postgres()).returncode == 0

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the owner, each in a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def make_database(self, name: str) -> None:
        """Create a database if it does not exist."""
        with psycopg.connect(self.url()) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if not known:
            self.execute(f'CREATE DATABASE "{name}"')

    def _initialize(self, settings: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if identity := _as_postgres():
            os.chown(self.folder, identity["user"], identity["group"])
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write(PASSWORD)
            secret.flush()
            Path(secret.name).chmod(0o644)
            options = ["-D", str(self.folder), "-U", self.owner, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
            self._call("initdb", *options, f"--pwfile={secret.name}")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _call(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [_binary(name), *arguments], capture_output=True, text=True, check=False, **_as_postgres()
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {(done.stdout + done.stderr)[-2000:]}")


def reachable(folder: Path) -> Path:
    """The folder itself; for root, if the user postgres cannot reach it, a folder in /var/tmp named after it."""
    if os.geteuid() or all(parent.stat().st_mode & 0o001 for parent in folder.parents if parent.exists()):
        return folder
    return Path("/var/tmp", f"fuelline-{zlib.crc32(str(folder).encode()):08x}-{folder.name}")


def _binary(name: str) -> str:
    return require(name, "apt-get install postgresql")


def _as_postgres() -> dict[str, Any]:
    """Options of ``subprocess.run`` to run as the user postgres; empty if this process is not root."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/", "env": {"LC_ALL": "C.UTF-8"}}
