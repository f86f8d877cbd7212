"""The stack for development: it starts, keeps running, keeps its data, stops, and a run finds its settings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lake.health import check
from lake.lake import open_lake
from settings import Settings, read_settings
from stack.__main__ import main
from stack.binaries import PACKAGES
from stack.postgres import reachable

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(need_binary: Callable[[str, str], str], tmp_path: Path) -> Iterator[Path]:
    for name, package in PACKAGES.items():
        need_binary(name, package)
    stack = tmp_path / "stack"
    yield stack
    assert main(["stop", "--folder", str(stack)]) == 0
    shutil.rmtree(reachable(stack / "postgres"), ignore_errors=True)


def process_ids(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in folder.glob("*/pid")}


def written_settings(folder: Path, home: Path) -> Settings:
    lines = [line.partition("=") for line in (folder / "env").read_text().splitlines()]
    return read_settings(home=home, **{name.removeprefix("FUELLINE_").lower(): value for name, _, value in lines})


def test_a_second_start_changes_nothing_and_a_stop_keeps_the_data(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["start", "--folder", str(folder)]) == 0
    running, settings = process_ids(folder), written_settings(folder, tmp_path)
    assert {service.fault for service in check(settings)} == {""}
    assert {service.setting for service in check(settings) if not service.place} == {"FUELLINE_VLLM"}
    open_lake(settings).ledger.append("work", "kept", "key", {})
    assert main(["start", "--folder", str(folder)]) == 0
    assert process_ids(folder) == running

    assert main(["stop", "--folder", str(folder)]) == 0
    assert process_ids(folder) == {}
    assert [service.setting for service in check(settings) if service.place and not service.fault] == []
    assert main(["start", "--folder", str(folder)]) == 0
    assert written_settings(folder, tmp_path) == settings
    assert open_lake(settings).ledger.entries("work")[0].key == "key"
    assert f"FUELLINE_ONLINE={settings.online}" in capsys.readouterr().out


def test_a_missing_server_is_named_with_its_package(tmp_path: Path) -> None:
    code = (
        "import stack.__main__ as s; s.find = lambda name: None; raise SystemExit(s.main(['start', '--folder', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "redis-server (apt-get install redis-server)" in done.stderr
    assert "postgres (apt-get install postgresql)" in done.stderr


def test_a_run_on_the_stack_starts_it_and_reads_its_settings() -> None:
    commands = subprocess.run(
        ["make", "--dry-run", "run", "STACK=1", "VENV=/usr"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    assert commands.index("-m stack start") < commands.index(". ./.fuelline/stack/env") < commands.index("pyflyte run")
