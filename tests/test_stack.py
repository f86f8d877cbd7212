"""The stack for development: it starts, stays, keeps what it has, and stops; and the run is told where it is."""

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
    own = tmp_path / "stack"
    yield own
    assert main(["stop", "--folder", str(own)]) == 0
    shutil.rmtree(reachable(own / "postgres"), ignore_errors=True)


def numbers(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in folder.glob("*/pid")}


def told(folder: Path, home: Path) -> Settings:
    lines = [line.partition("=") for line in (folder / "env").read_text().splitlines()]
    return read_settings(home=home, **{name.removeprefix("FUELLINE_").lower(): value for name, _, value in lines})


def test_it_starts_twice_without_a_change_and_keeps_its_data_over_a_stop(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["start", "--folder", str(folder)]) == 0
    running, places = numbers(folder), told(folder, tmp_path)
    assert {one.fault for one in check(places)} == {""}
    assert {one.setting for one in check(places) if not one.place} == {"FUELLINE_VLLM"}
    open_lake(places).ledger.append("work", "kept", "key", {})
    assert main(["start", "--folder", str(folder)]) == 0
    assert numbers(folder) == running

    assert main(["stop", "--folder", str(folder)]) == 0
    assert numbers(folder) == {}
    assert [one.setting for one in check(places) if one.place and not one.fault] == []
    assert main(["start", "--folder", str(folder)]) == 0
    assert told(folder, tmp_path) == places
    assert open_lake(places).ledger.entries("work")[0].key == "key"
    assert f"FUELLINE_ONLINE={places.online}" in capsys.readouterr().out


def test_what_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
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


def test_a_run_on_the_stack_starts_it_and_reads_where_it_is() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "run", "STACK=1", "VENV=/usr"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    assert said.index("-m stack start") < said.index(". ./.fuelline/stack/env") < said.index("pyflyte run")
