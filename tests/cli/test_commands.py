"""The `fuelline` command, run through its entry point on a lake with two trained and promoted versions."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from errors import UnknownName
from lake.lake import Lake, open_lake
from reports.run_report import write_report
from settings import read_settings
from tests.world import operated

HEAVY = ("torch", "flytekit", "mlflow", "feast", "transformers", "peft")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operated")
    lake = operated.empty_lake(read_settings(home=folder / "home", lake="demo"))
    operated.record_training(lake, 1, [operated.ingest(lake, operated.write_logs(folder / "logs", 0, 8))])
    operated.roll_out(lake, 1)
    more = operated.ingest(lake, operated.write_logs(folder / "more", 8, 3))
    operated.record_training(lake, 2, [more], baseline="agents@v1")
    operated.roll_out(lake, 2, baseline="agents@v1")
    return folder / "home"


@pytest.fixture
def fuelline(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator["CommandRunner"]:
    yield CommandRunner(monkeypatch, home)
    logging.getLogger("fuelline").handlers.clear()


class CommandRunner:
    """Runs ``fuelline`` with the arguments it is called with, on the lakes in ``home``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.monkeypatch = monkeypatch
        for name in ("LAKE", "STORE", "DEBUG"):
            monkeypatch.delenv(f"FUELLINE_{name}", raising=False)
        self.home = home

    @property
    def home(self) -> Path:
        return self._home

    @home.setter
    def home(self, folder: Path) -> None:
        self._home = folder
        self.monkeypatch.setenv("FUELLINE_HOME", str(folder))

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)


@pytest.fixture
def small_lake(fuelline: CommandRunner, tmp_path: Path) -> Lake:
    """A lake of its own that a test may damage; the command reads this one."""
    fuelline.home = tmp_path / "small"
    lake = operated.empty_lake(read_settings(home=fuelline.home, lake="small"))
    operated.record_training(lake, 1, [operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 1))])
    operated.roll_out(lake, 1)
    return lake


def test_status_shows_sources_tables_and_the_version_in_production(fuelline: CommandRunner) -> None:
    output = fuelline("status").output
    assert "latency_out_of_range" in output
    assert "agents@v2 since 2026-11-" in output
    status = json.loads(fuelline("status", "--json").output)[0]
    assert status["sources"][0] | {"watermark": ""} == {
        "source": "agents",
        "objects": 11,
        "landed": 665,
        "committed": 649,
        "quarantined": 16,
        "duplicates": 0,
        "watermark": "",
        "reasons": {"latency_out_of_range": 11, "malformed_json": 5},
    }
    assert {table["table"]: table["rows"] for table in status["tables"]}["processed.agent_interactions"] == 649
    assert status["models"][0]["production"] == "agents@v2"
    assert status["models"][0]["waiting"] == []


def test_status_as_of_a_time_shows_the_version_in_production_then(fuelline: CommandRunner, home: Path) -> None:
    ledger = open_lake(read_settings(home=home, lake="demo")).ledger
    before, after = ledger.entries("models/agents", kind="promoted")

    def live(at: str) -> str:
        return str(json.loads(fuelline("status", "--at", at, "--json").output)[0]["models"][0]["production"])

    assert live("2026-11-01") == "base"
    assert live(before.time.isoformat()) == "agents@v1"
    assert live(after.time.isoformat()) == live(f"{after.time:%Y-%m-%d}") == "agents@v2"


def test_history_lists_every_event_with_time_and_evidence(fuelline: CommandRunner) -> None:
    lines = fuelline("history", "agents").output.splitlines()
    assert [line.split()[3] for line in lines[1:]] == 2 * [
        *("trained", "judged", "registered", "rollout_opened", "promoted")
    ]
    assert "better than base: -0.312 [-0.363, -0.261] nats per response token on 100 rows of 11 users" in lines[2]
    events = json.loads(fuelline("history", "agents", "--kind", "promoted", "--json").output)
    assert [event["payload"]["version"] for event in events] == [1, 2]


def test_lineage_is_text_json_and_a_picture(fuelline: CommandRunner, tmp_path: Path) -> None:
    assert "processed.agent_interactions@" in fuelline("lineage", "agents@v1").output
    picture = tmp_path / "v1.svg"
    result = fuelline("lineage", "agents@v1", "--json", "--svg", str(picture))
    assert json.loads(result.stdout)["name"] == "agents@v1"
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_the_report_of_a_run_has_its_outcome_and_the_path_of_its_page(
    fuelline: CommandRunner, small_lake: Lake
) -> None:
    path = write_report(small_lake, "run-1", "agents")
    output = fuelline("report").output
    for part in ("60 lines in 1 objects", "latency_out_of_range 1", "-0.312 [-0.363, -0.261]", "Promoted", str(path)):
        assert part in output
    path.unlink()
    report = json.loads(fuelline("report", "run-1", "--json").output)
    assert Path(report["path"]).exists()
    assert report["scores"]["candidate"] == pytest.approx(1.788)


def test_the_report_of_a_past_week_is_written_and_shown(fuelline: CommandRunner, small_lake: Lake) -> None:
    shown = fuelline("weekly", "--week", "2026-W44")
    path = small_lake.settings.folder / "reports" / "weekly" / "2026-W44.html"
    assert shown.output == f"2026-W44  {path}\n"
    assert "sent 59 requests" in path.read_text()
    assert json.loads(fuelline("weekly", "--week", "2026-W44", "--json").output)["path"] == str(path)
    assert "not an ISO week" in fuelline("weekly", "--week", "last").stderr


def test_an_intact_ledger_verifies_and_an_altered_entry_has_an_exit_code_of_its_own(
    fuelline: CommandRunner, small_lake: Lake
) -> None:
    assert "models/agents: 5 entries, whole" in fuelline("ledger", "verify").output
    assert json.loads(fuelline("ledger", "verify", "models/agents", "--json").output) == {"models/agents": 5}
    key = "ledger/models/agents/e000000000001.json"
    small_lake.store.write(key, small_lake.store.read(key).replace(b"better", b"worse!"))
    broken = fuelline("ledger", "verify")
    assert broken.exit_code == 3
    assert broken.stderr.startswith("Error: models/agents: entry ")


def test_a_replay_of_a_version_without_its_files_has_the_exit_code_of_broken_integrity(
    fuelline: CommandRunner, small_lake: Lake
) -> None:
    refused = fuelline("replay", "agents@v1")
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr.startswith("Error: ml/models/agents/v1/manifest.json is missing")


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["histroy", "agents"], 2, "Did you mean 'history'?"),
        (["status", "--jsn"], 2, "Did you mean '--json'?"),
        (["ledger", "verfy"], 2, "Did you mean 'verify'?"),
        (["history"], 2, "Missing argument 'MODEL'"),
        (["status", "--at", "soon"], 2, "not a time such as"),
        (["history", "agnets"], 1, "did you mean 'agents'?"),
        (["history", "agents", "--kind", "promotd"], 1, "did you mean 'promoted'?"),
        (["lineage", "agents@v9"], 1, "did you mean 'agents@v"),
        (["replay", "agents@v9"], 1, "did you mean 'agents@v"),
        (["ledger", "verify", "models/agent"], 1, "did you mean 'models/agents'?"),
        (["--lake", "dmo", "status"], 1, "did you mean 'demo'?"),
        (["report"], 1, "no run of lake demo has been reported yet"),
    ],
)
def test_a_wrong_argument_has_an_exit_code_and_one_line_with_a_hint(
    fuelline: CommandRunner, arguments: list[str], code: int, hint: str
) -> None:
    refused = fuelline(*arguments)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert hint in refused.stderr
    assert "Traceback" not in refused.stderr
    *usage, error = refused.stderr.splitlines()
    assert error.startswith("Error: ")
    assert "".join(usage).startswith("Usage: " if code == 2 else "")
    assert bool(usage) == (code == 2)


def test_debug_raises_the_error_itself(fuelline: CommandRunner) -> None:
    assert isinstance(fuelline("--debug", "history", "agnets").exception, UnknownName)


def test_a_single_lake_is_the_default_and_of_several_one_must_be_named(
    fuelline: CommandRunner, small_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fuelline("history", "agents").exit_code == 0
    operated.empty_lake(read_settings(home=fuelline.home, lake="other"))
    ambiguous = fuelline("history", "agents")
    assert (ambiguous.exit_code, "other, small" in ambiguous.stderr) == (1, True)
    assert [status["lake"] for status in json.loads(fuelline("status", "--json").output)] == ["other", "small"]
    monkeypatch.setenv("FUELLINE_LAKE", "small")
    assert fuelline("history", "agents").exit_code == 0
    assert "no model named 'agents'" in fuelline("--lake", "other", "history", "agents").stderr


def test_a_command_that_reads_creates_no_files(fuelline: CommandRunner, tmp_path: Path) -> None:
    fuelline.home = tmp_path / "nowhere"
    refused = fuelline("status")
    assert (refused.exit_code, "`make run` creates one" in refused.stderr) == (1, True)
    assert not fuelline.home.exists()


def test_a_lake_on_s3_needs_no_local_folder(fuelline: CommandRunner, s3_lake: Lake, tmp_path: Path) -> None:
    settings = s3_lake.settings
    operated.record_training(s3_lake, 1, [])
    fuelline.home = tmp_path / "elsewhere"
    stated = {
        "STORE": settings.store,
        "LAKE": settings.lake,
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_ACCESS_KEY": "test",
    }
    for name, value in (stated | {"S3_SECRET_KEY": "test-secret"}).items():
        fuelline.monkeypatch.setenv(f"FUELLINE_{name}", value)
    assert "agents@v1" in fuelline("status").output


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["history", "agents"], ["ledger", "verify"]])
def test_a_command_that_reads_imports_nothing_heavy(home: Path, arguments: list[str]) -> None:
    code = f"import sys; from cli.main import main; main({arguments!r}, standalone_mode=False)\nprint(*sys.modules)"
    environment = {"FUELLINE_HOME": str(home), "PATH": "", "HOME": str(home)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "command", [[], ["status"], ["history"], ["lineage"], ["replay"], ["ledger"], ["ledger", "verify"], ["report"]]
)
def test_every_command_has_help_with_usage_and_an_example(fuelline: CommandRunner, command: list[str]) -> None:
    output = fuelline(*command, "--help").output
    assert "Usage: " in output
    assert command == ["ledger"] or "Example" in output
