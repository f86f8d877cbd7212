"""A mistyped lake is an error with the nearest name, in each kind of store; nothing is created."""

import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import UnknownName
from lake.lake import open_lake, open_named
from lake.store.names import settings_of
from settings import Settings, read_settings
from tests.conftest import variables

READING = (
    ["status"],
    ["history", "agents"],
    ["why", "agents"],
    ["lineage", "agents@v1"],
    ["replay", "agents@v1"],
    ["report"],
    ["ledger", "verify"],
    ["docs", "trino-views"],
    ["docs", "trino-maintenance"],
    ["rollback", "agents", "--reason", "r", "--by", "me"],
    ["approve", "agents@v1", "--reason", "r", "--by", "me"],
)


@pytest.fixture(params=["embedded", "folder", "s3"])
def known(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a lake ``studio`` with one object; the environment has them without its name."""
    base: Settings = request.getfixturevalue("s3_settings" if request.param == "s3" else "settings")
    chosen: dict[str, Any] = base.model_dump(exclude_unset=True) | {"lake": "studio"}
    chosen |= {"store": str(tmp_path / "lakes")} if request.param == "folder" else {}
    settings = read_settings(**chosen)
    open_lake(settings).store.write("ledger/agents/e1", b"{}")
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    return settings


def everything(settings: Settings, folder: Path) -> set[str]:
    objects = set(open_lake(settings).store.list("")) if settings.store.startswith("s3://") else set()
    return objects | {str(path) for path in folder.rglob("*")}


def test_a_mistyped_lake_is_an_error_and_no_new_lake(
    known: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_named("studio").store.read("ledger/agents/e1") == b"{}"
    before = everything(known, tmp_path)
    monkeypatch.setenv("FUELLINE_LAKE", "stduio")
    for command in READING:
        refused = CliRunner().invoke(main, command)
        assert refused.exit_code == 1, command
        assert refused.stderr == "Error: no lake named 'stduio'; did you mean 'studio'?\n"
        assert CliRunner().invoke(main, ["--lake", "studoi", *command]).stderr == refused.stderr.replace(
            "stduio", "studoi"
        )
    assert everything(known, tmp_path) == before


def test_a_check_or_a_process_of_a_mistyped_lake_warns_and_makes_no_name_known(
    known: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FUELLINE_LAKE", "stduio")
    CliRunner().invoke(main, ["check"])
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == "what is written now makes a new lake: no lake named 'stduio'; did you mean 'studio'?"
    with pytest.raises(UnknownName, match="did you mean 'studio'"):
        open_named(None)
    caplog.clear()
    assert settings_of("studio").lake == "studio"
    assert not caplog.records


def test_where_no_lake_is_the_message_says_how_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    refused = CliRunner().invoke(main, ["--lake", "studio", "status"])
    assert f"there is no lake in {tmp_path} yet; `make run` creates one" in refused.stderr
