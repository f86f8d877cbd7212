"""What a wrong, missing or absent service is answered with, on the real ones."""

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


def asked(settings: Settings, setting: str) -> ServiceCheck:
    return next(one for one in check(settings) if one.setting == f"FUELLINE_{setting.upper()}")


def test_an_embedded_lake_needs_no_service(settings: Settings) -> None:
    assert [(one.place, one.fault) for one in check(settings)] == [("", "")] * len(CHECKS)
    require_ready(settings, *CHECKS)


def test_every_service_that_is_there_is_told_with_its_place_and_without_its_password(
    s3_settings: Settings, database: str, redis_url: str, rabbitmq_url: str
) -> None:
    there = {"catalog": database, "online": redis_url, "tracking": database, "rabbitmq": rabbitmq_url}
    chosen = read_settings(**s3_settings.model_dump() | there)
    told = check(chosen)
    assert [one.fault for one in told] == [""] * len(CHECKS)
    assert asked(chosen, "catalog").place == database.replace("fuelline:fuelline@", "")
    assert "guest" not in str(told)
    require_ready(chosen, "store", *there)
    assert open_store(chosen).exists(PROBE)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("postgresql://me:hunter2@/db?host=/nowhere", "postgresql:///db"),
        ("postgresql://me:hun,ter2@127.0.0.1:{port}/db", "postgresql://127.0.0.1:{port}/db"),
        ("postgresql://127.0.0.1:{port}/db?user=me&password=hunter2", "postgresql://127.0.0.1:{port}/db"),
    ],
)
def test_a_place_is_told_without_its_password_wherever_that_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, place: str
) -> None:
    port = free_port()
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.setenv("FUELLINE_CATALOG", address.format(port=port))
    for arguments in (["check"], ["check", "--json"]):
        told = CliRunner().invoke(main, arguments)
        assert place.format(port=port) in told.stdout
        assert "ter2" not in told.output


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
def test_a_service_that_is_away_is_named_by_its_setting_with_an_example(
    settings: Settings, setting: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = read_settings(**settings.model_dump() | {setting: address.format(host=f"127.0.0.1:{free_port()}")})
    fault = asked(chosen, setting).fault
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
def test_wrong_credentials_and_names_are_a_fault_of_the_setting_that_no_task_tries_again(
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
    for look in (require_ready, require_valid):
        with pytest.raises(SettingsError, match=rf"^FUELLINE_{setting.upper()}: .*{reason}.*Example: ") as refused:
            look(chosen, setting)
        assert "hunter2" not in str(refused.value)


def test_a_bucket_that_is_not_there_and_a_key_that_is_wrong_are_told_apart(s3_settings: Settings) -> None:
    gone = s3_settings.model_copy(update={"store": "s3://nobodys-bucket/lake"})
    assert asked(gone, "store").fault.startswith("FUELLINE_STORE: there is no bucket 'nobodys-bucket'")


def test_a_service_is_asked_once_a_process(settings: Settings, postgres: Postgres, database: str) -> None:
    chosen = settings.model_copy(update={"catalog": database})
    require_ready(chosen, "catalog")
    postgres.stop()
    try:
        require_ready(chosen, "catalog")
        assert asked(chosen, "catalog").fault.startswith("FUELLINE_CATALOG: nothing listens there")
    finally:
        postgres.start()


def test_a_tracking_server_that_answers_with_an_error_is_told_with_its_number(settings: Settings) -> None:
    with serving() as peer:
        peer.answer = lambda _: Reply(status=503)
        fault = asked(read_settings(home=settings.home, tracking=peer.url), "tracking").fault
    assert "answers 503" in fault


def test_the_command_tells_each_service_and_ends_with_one_where_a_service_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str
) -> None:
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path))
    monkeypatch.setenv("FUELLINE_ONLINE", redis_url)
    fine = CliRunner().invoke(main, ["check"])
    assert (fine.exit_code, "FUELLINE_ONLINE" in fine.stdout, "fails" in fine.stdout) == (0, True, False)
    monkeypatch.setenv("FUELLINE_ONLINE", f"redis://127.0.0.1:{free_port()}")
    failed = CliRunner().invoke(main, ["check", "--json"])
    assert failed.exit_code == 1
    faults = {one["setting"]: one["fault"] for one in json.loads(failed.stdout) if one["fault"]}
    assert list(faults) == ["FUELLINE_ONLINE"]
    assert "Example: FUELLINE_ONLINE=redis://" in faults["FUELLINE_ONLINE"]


def test_the_command_refuses_a_mistyped_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUELLINE_ONLIEN", "redis://127.0.0.1:6379")
    refused = CliRunner().invoke(main, ["check"])
    assert refused.exit_code == 1
    assert "did you mean FUELLINE_ONLINE?" in refused.stderr
