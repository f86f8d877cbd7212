"""Settings: the address of a lake, and errors that name the variable but never a secret."""

import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from errors import SettingsError
from settings import Settings, read_settings, refuse_unknown

EXAMPLES = {name: field.examples[0] for name, field in Settings.model_fields.items() if field.examples}


def test_two_lakes_in_one_store_have_different_addresses(tmp_path: Path) -> None:
    places = {read_settings(store=str(tmp_path), lake=name).store_address for name in ("sample", "mine")}
    assert places == {f"{tmp_path}/sample", f"{tmp_path}/mine"}
    assert read_settings(store="s3://bucket/prefix/", lake="mine").store_address == "s3://bucket/prefix/mine"


def test_a_folder_has_the_same_address_from_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    found = set()
    for directory, name in ((tmp_path, "data"), (tmp_path, "./data/"), (tmp_path / "below", "../data")):
        monkeypatch.chdir(directory)
        found.add(read_settings(store=name, lake="mine").store_address)
        found.add(str(read_settings(home=name, lake="mine").folder))
    assert found == {f"{tmp_path}/data/mine"}


@pytest.mark.parametrize("character", "#%?")
def test_a_folder_name_with_a_special_character_of_addresses_is_refused_with_that_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    odd = tmp_path / f"a{character}b"
    for setting in ("home", "store"):
        with pytest.raises(SettingsError, match=rf"^FUELLINE_{setting.upper()}: .*'\{character}'.*Example: "):
            read_settings(**{setting: str(odd)})
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises(SettingsError, match=rf"^FUELLINE_HOME: its full path holds '\{character}'"):
        read_settings()


@pytest.mark.parametrize("setting", ["online", "store"])
def test_the_error_of_a_malformed_address_has_its_variable_and_not_its_value(setting: str) -> None:
    with pytest.raises(SettingsError, match=f"FUELLINE_{setting.upper()}") as error:
        read_settings(**{setting: "valkey://user:hunter2@host:6379"})
    assert "hunter2" not in str(error.value)


def test_the_text_form_of_the_settings_has_no_password() -> None:
    address = "postgresql+psycopg2://user:hunter2@host/db"
    online = "redis://:hunter2@host:6379"
    shown = read_settings(catalog=address, tracking=address, online=online, s3_access_key="me", s3_secret_key="hunter2")
    assert "hunter2" not in repr(shown)


PASSWORDS = ["Top/Secret9", "Top#Secret9", "Top?Secret9", "Top@Secret9", "Top[Secret9", "Top[Secret]9", "7/Secret9"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("catalog", "postgresql://me:{}@host:5432/db"),
        ("catalog", "postgresql:///me:{}@host/db"),
        ("tracking", "https://me:{}@host:5000"),
        ("online", "redis://:{}@host:6379"),
        ("rabbitmq", "amqp://me:{}@host:5672/agents"),
    ],
)
def test_a_password_that_is_not_encoded_is_refused_with_the_remedy_and_never_shown(
    setting: str, address: str, password: str
) -> None:
    with pytest.raises(SettingsError, match=f"^FUELLINE_{setting.upper()}: .*percent-encode the password") as error:
        read_settings(**{setting: address.format(password)})
    shown = "".join(traceback.format_exception(error.value))
    assert "Top" not in shown
    assert "Secret" not in shown
    if "///" not in address:
        read_settings(**{setting: address.format(quote(password, safe=""))})


def test_a_validation_error_of_a_wrong_address_has_no_password() -> None:
    with pytest.raises(ValueError, match="online") as error:
        Settings.model_validate({"online": "redis://:Top/Secret9@host:6379"})
    assert "Secret" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("catalog", "postgresql://me:hunter2@/db?host=/var/run/postgresql"),
        ("catalog", "postgresql://me:p%40x@host/db?application_name=a@b"),
        ("catalog", "sqlite:////home/me@home/catalog.db?timeout=60"),
        ("online", "rediss://[::1]:6379/2?ssl_ca_certs=/etc/ca.pem"),
        ("rabbitmq", "amqp://me:hunter2@host:5672/%2F"),
    ],
)
def test_addresses_of_sockets_files_and_database_numbers_are_accepted(setting: str, address: str) -> None:
    read_settings(**{setting: address})


def test_an_invalid_lake_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="FUELLINE_LAKE"):
        read_settings(lake="My Lake")


def test_alerts_are_addresses_separated_by_commas() -> None:
    assert read_settings(alerts="ops@home.example, pager@duty.example").alert_addresses == (
        "ops@home.example",
        "pager@duty.example",
    )
    assert read_settings().alert_addresses == ()
    with pytest.raises(SettingsError, match="FUELLINE_ALERTS"):
        read_settings(alerts="ops@home.example, the pager")


def test_every_setting_has_a_valid_example() -> None:
    assert EXAMPLES.keys() == Settings.model_fields.keys()
    assert read_settings(**EXAMPLES).store == EXAMPLES["store"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("store", "gs://bucket"),
        ("store", "s3://"),
        ("store", "s3://bucket/a#b"),
        ("s3_endpoint", "minio:9000"),
        ("catalog", "mysql://host/db"),
        ("catalog", "postgres://host/db"),
        ("online", "localhost:6379"),
        ("tracking", "mlflow.forge.svc:5000"),
        ("rabbitmq", "http://host:15672"),
        ("vllm", "vllm-0:8000"),
        ("vllm", "http://me:hunter2@vllm-0:8000"),
        ("slack", "#alerts"),
        ("prometheus", "http://prometheus:9090"),
        ("lake", "My Lake"),
        ("cluster", ""),
    ],
)
def test_the_error_of_a_malformed_setting_has_its_name_the_reason_and_an_example(setting: str, value: str) -> None:
    variable = f"FUELLINE_{setting.upper()}"
    with pytest.raises(SettingsError) as error:
        read_settings(**{setting: value})
    assert str(error.value).startswith(f"{variable}: ")
    assert str(error.value).endswith(f"Example: {variable}={EXAMPLES[setting]}")


def test_half_a_pair_of_keys_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"FUELLINE_S3_ACCESS_KEY and FUELLINE_S3_SECRET_KEY go together") as error:
        read_settings(s3_secret_key="hunter2")
    assert "hunter2" not in str(error.value)


def test_a_mistyped_variable_is_an_error_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUELLINE_STOER", "s3://bucket")
    with pytest.raises(SettingsError, match=r"^FUELLINE_STOER is not a setting; did you mean FUELLINE_STORE\?"):
        read_settings()


def test_variables_that_kubernetes_and_the_project_set_are_no_mistake() -> None:
    own = ["FUELLINE_DEBUG", "FUELLINE_PORT", "FUELLINE_SERVICE_HOST", "FUELLINE_SERVICE_PORT_HTTP"]
    refuse_unknown(
        [*own, "FUELLINE_GATEWAY_SERVICE_PORT", "FUELLINE_GATEWAY_PORT_8080_TCP_ADDR", "FUEL", "fuelline_lake"]
    )
    with pytest.raises(SettingsError, match=r"FUELLINE_SOMETHING_ELSE_AGAIN is not a setting; settings\.py lists all"):
        refuse_unknown(["FUELLINE_SOMETHING_ELSE_AGAIN"])
