"""The bucket's lifecycle rules follow from the contracts, and S3 accepts them."""

import json

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import SettingsError
from lake.contracts import contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.maintenance.bucket_lifecycle import lifecycle
from lake.sources.registry import PULL_SOURCES
from lake.store.s3 import S3Store
from settings import Settings


def test_raw_objects_become_cold_and_expire_at_the_ages_of_the_contract(s3_settings: Settings) -> None:
    rules = {rule["ID"]: rule for rule in lifecycle(contracts().values(), s3_settings, "COLD")["Rules"]}
    landed = [contract for contract in contracts().values() if contract.source]
    assert set(rules) == {f"raw-{contract.source}" for contract in landed}
    assert {"raw-agents", "raw-metrics", "raw-logs", "raw-predictions"} <= set(rules)
    assert rules["raw-metrics"]["Expiration"] == {"Days": 30}
    assert "Transitions" not in rules["raw-metrics"]
    agents = rules["raw-agents"]
    assert agents["Filter"] == {"Prefix": "lake/test/raw/agents/"}
    assert agents["Transitions"] == [{"Days": 90, "StorageClass": "COLD"}]
    assert agents["Expiration"] == {"Days": AGENT_INTERACTIONS.retention_days}


def test_s3_accepts_the_rules_and_returns_them(s3_settings: Settings) -> None:
    store = S3Store(s3_settings.store_address, s3_settings)
    rules = lifecycle(contracts().values(), s3_settings, "GLACIER")
    store.client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=rules)  # type: ignore[arg-type]
    kept = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
    assert [rule["ID"] for rule in kept] == [rule["ID"] for rule in rules["Rules"]]


def test_the_command_prints_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUELLINE_STORE", "s3://bucket")
    lifecycle = json.loads(CliRunner().invoke(main, ["docs", "bucket-lifecycle", "--tier", "COLD"]).output)
    prefixes = {rule["Filter"]["Prefix"].partition("/raw/")[2] for rule in lifecycle["Rules"]}
    assert {"agents/", "kubernetes-events/"} <= prefixes


def test_raw_objects_of_every_source_expire() -> None:
    brought = {*PULL_SOURCES, "processed.cloud_events", "processed.model_predictions", "processed.agent_feedback"}
    assert [name for name in brought if not contracts()[name].source] == []


def test_a_folder_has_no_rules_and_says_so(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="a folder has no lifecycle rules"):
        lifecycle(contracts().values(), settings, "COLD")
