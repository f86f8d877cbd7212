"""Settings: a lake's place of its own, and errors that name the variable but never a secret."""

from pathlib import Path

import pytest

from errors import SettingsError
from settings import read_settings


def test_two_lakes_under_one_store_never_share_a_place(tmp_path: Path) -> None:
    places = {read_settings(store=str(tmp_path), lake=name).store_address for name in ("sample", "mine")}
    assert places == {f"{tmp_path}/sample", f"{tmp_path}/mine"}
    assert read_settings(store="s3://bucket/prefix/", lake="mine").store_address == "s3://bucket/prefix/mine"


@pytest.mark.parametrize("setting", ["online", "store"])
def test_a_malformed_address_is_named_by_its_variable_and_not_by_its_value(setting: str) -> None:
    with pytest.raises(SettingsError, match=f"FUELLINE_{setting.upper()}") as error:
        read_settings(**{setting: "valkey://user:hunter2@host:6379"})
    assert "hunter2" not in str(error.value)


def test_settings_can_be_shown_without_showing_a_password() -> None:
    address = "postgresql+psycopg2://user:hunter2@host/db"
    online = "redis://:hunter2@host:6379"
    shown = read_settings(catalog=address, tracking=address, online=online, s3_secret_key="hunter2")
    assert "hunter2" not in repr(shown)


def test_an_unknown_lake_name_says_what_a_name_may_be() -> None:
    with pytest.raises(SettingsError, match="FUELLINE_LAKE"):
        read_settings(lake="My Lake")


def test_alerts_are_addresses_with_commas_between() -> None:
    assert read_settings(alerts="ops@home.example, pager@duty.example").alert_addresses == (
        "ops@home.example",
        "pager@duty.example",
    )
    assert read_settings().alert_addresses == ()
    with pytest.raises(SettingsError, match="FUELLINE_ALERTS"):
        read_settings(alerts="ops@home.example, the pager")
