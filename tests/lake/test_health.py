"""Checks of real services: available, unavailable, and with wrong settings."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import PeerError, SettingsError
from lake.health import CHECKS, PROBE, ServiceCheck, check, require_ready, require_valid
from lake.store.open import open_store
from settings import Settings, read_settings
from stack.postgres import Postgres
from tests.conftest import free_port
from tests.lake.sources.peer import Reply, serving


def checked(settings: Settings, setting: str) -> ServiceCheck:
    return next(result for result in check(settings) if result.setting == f"FUELLINE_{setting.upper()}")


def test_an_embedded_lake_needs_no_service(settings: Settings) -> None:
    assert [(result.place, result.fault) for result in check(settings)] == [("", "")] * len(CHECKS)
    require_ready(settings, *CHECKS)


def test_every_available_service_is_listed_with_its_address_and_without_its_password(
    s3_settings: Settings, database: str, redis_url: str, rabbitmq_url: str
) -> None:
    services = {"catalog": database, "online": redis_url, "tracking": database, "rabbitmq": rabbitmq_url}
    chosen = read_settings(**s3_settings.model_dump() | services)
    results = check(chosen)
    assert [result.fault for result in results] == [""] * len(CHECKS)
    assert checked(chosen, "catalog").place == database.replace("fuelline:fuelline@", "")
    assert "guest" not in str(results)
    require_ready(chosen, "store", *services)
    assert open_store(chosen).exists(PROBE)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("postgresql://me:hunter2@/db?host=/nowhere", "postgresql:///db"),
        ("postgresql://me:hun,ter2@127.0.0.1:{port}/db", "postgresql://127.0.0.1:{port}/db"),
        ("postgresql://127.0.0.1:{port}/db?user=me&password=hunter2", "postgresql://127.0.0.1:{port}/db"),
    ],
)
def test_an_address_is_shown_without_its_password_wherever_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, place: str
) -> None:
    port = free_port()
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.setenv("FUELLINE_CATALOG", address.format(port=port))
    for arguments in (["check"], ["check", "--json"]):
        outcome = CliRunner().invoke(main, arguments)
        assert place.format(port=port) in outcome.stdout
        assert "ter2" not in outcome.output


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("catalog", "postgresql://me:hunter2@{host}/db"),
        ("tracking", "postgresql://me:hunter2@{host}/db"),
        ("tracking", "http://me:hunter2@{host}"),
        ("online", "redis://me:hunter2@{host}"),
        ("rabbitmq", "amqp://me:hunter2@{host}"),
        ("vllm", "http://{host}"),
    ],
)
def test_an_unavailable_service_is_an_error_with_its_setting_and_an_example(
    settings: Settings, setting: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = read_settings(**settings.model_dump() | {setting: address.format(host=f"127.0.0.1:{free_port()}")})
    fault = checked(chosen, setting).fault
    assert fault.startswith(f"FUELLINE_{setting.upper()}: ")
    assert f"Example: FUELLINE_{setting.upper()}=" in fault
    assert "hunter2" not in fault
    with pytest.raises(PeerError, match=f"FUELLINE_{setting.upper()}"):
        require_ready(chosen, setting)
    require_valid(chosen, setting)
    assert fault in caplog.text


@pytest.mark.parametrize(
    ("setting", "change", "reason"),
    [
        ("catalog", ("fuelline:fuelline@", "fuelline:hunter2@"), "the database refuses the password of 'fuelline'"),
        ("tracking", ("/test_", "/nowhere_"), "there is no database"),
        ("online", ("redis://", "redis://me:hunter2@"), "Redis refuses this user or password"),
        ("rabbitmq", ("guest:guest", "guest:hunter2"), "refuses this user or virtual host"),
    ],
)
def test_wrong_credentials_and_names_are_settings_errors_that_no_task_retries(
    settings: Settings,
    setting: str,
    change: tuple[str, str],
    reason: str,
    request: pytest.FixtureRequest,
) -> None:
    fixture = {"catalog": "database", "tracking": "database", "online": "redis_url", "rabbitmq": "rabbitmq_url"}[
        setting
    ]
    chosen = read_settings(**settings.model_dump() | {setting: request.getfixturevalue(fixture).replace(*change)})
    for require in (require_ready, require_valid):
        with pytest.raises(SettingsError, match=rf"^FUELLINE_{setting.upper()}: .*{reason}.*Example: ") as refused:
            require(chosen, setting)
        assert "hunter2" not in str(refused.value)


def test_a_missing_bucket_is_an_error_of_the_store_setting(s3_settings: Settings) -> None:
    wrong_bucket = s3_settings.model_copy(update={"store": "s3://nobodys-bucket/lake"})
    assert checked(wrong_bucket, "store").fault.startswith("FUELLINE_STORE: there is no bucket 'nobodys-bucket'")


def test_a_service_is_checked_once_per_process(settings: Settings, postgres: Postgres, database: str) -> None:
    chosen = settings.model_copy(update={"catalog": database})
    require_ready(chosen, "catalog")
    postgres.stop()
    try:
        require_ready(chosen, "catalog")
        assert checked(chosen, "catalog").fault.startswith("FUELLINE_CATALOG: nothing listens there")
    finally:
        postgres.start()


def test_a_tracking_server_that_answers_with_an_error_is_reported_with_the_status(settings: Settings) -> None:
    with serving() as peer:
        peer.answer = lambda _: Reply(status=503)
        fault = checked(read_settings(home=settings.home, tracking=peer.url), "tracking").fault
    assert "answers 503" in fault


def test_the_command_lists_each_service_and_exits_with_1_where_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str
) -> None:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.setenv("FUELLINE_ONLINE", redis_url)
    fine = CliRunner().invoke(main, ["check"])
    assert (fine.exit_code, "FUELLINE_ONLINE" in fine.stdout, "fails" in fine.stdout) == (0, True, False)
    monkeypatch.setenv("FUELLINE_ONLINE", f"redis://127.0.0.1:{free_port()}")
    failed = CliRunner().invoke(main, ["check", "--json"])
    assert failed.exit_code == 1
    faults = {result["setting"]: result["fault"] for result in json.loads(failed.stdout)["services"] if result["fault"]}
    assert list(faults) == ["FUELLINE_ONLINE"]
    assert "Example: FUELLINE_ONLINE=redis://" in faults["FUELLINE_ONLINE"]
    plans = {plan["name"]: plan["missing"] for plan in json.loads(failed.stdout)["schedules"]}
    assert (plans["collect_metrics"], plans["audit_daily"]) == ("FUELLINE_PROMETHEUS is not set", "")


def test_the_command_refuses_a_mistyped_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUELLINE_ONLIEN", "redis://127.0.0.1:6379")
    refused = CliRunner().invoke(main, ["check"])
    assert refused.exit_code == 1
    assert "did you mean FUELLINE_ONLINE?" in refused.stderr
