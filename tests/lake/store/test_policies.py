"""Each account can do its work, and nothing else, on a real S3 server that enforces its policy."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from errors import PeerError, SettingsError
from features.streaming.windows import open_stream
from lake.contracts import contracts
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.health import check
from lake.lake import Lake, open_lake
from lake.maintenance.bucket_lifecycle import lifecycle
from lake.maintenance.compaction import CompactionPolicy
from lake.maintenance.retention import find_due, remove_due
from lake.maintenance.run import MaintenancePolicy, run_maintenance
from lake.sources.cloudevents import Message
from lake.sources.events import ingest_batch
from lake.sources.inbox import collect_all, put
from lake.store.ledger import CHECKPOINT_EVERY
from lake.store.objects import ObjectStore
from lake.store.s3 import S3Store
from reports.run_report import save_section
from settings import Settings
from tests.lake.events import STRUCTURED, event
from tests.lake.processes import at_once
from tests.lake.rows import interaction, lines, table
from tests.servers.s3 import BUCKET, account_settings, real_s3
from tests.world.operated import build_and_record_training, ingest, write_logs

ENTRY = "ledger/models/agents/e000000000000.json"


@pytest.fixture(scope="module")
def endpoint(need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_s3(need_binary, tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def as_account(endpoint: str, tmp_path: Path, database: str) -> Callable[[str], Lake]:
    """The lake of the policies, as one account sees it, with a shared catalogue."""

    def opened(account: str) -> Lake:
        return open_lake(
            account_settings(endpoint, tmp_path / account, account).model_copy(update={"catalog": database})
        )

    return opened


@pytest.fixture
def emptied(endpoint: str, tmp_path: Path) -> Iterator[ObjectStore]:
    """The lake's objects for the administrator; gone afterwards."""
    store = open_lake(account_settings(endpoint, tmp_path / "administrator")).store
    yield store
    for key in list(store.list("")):
        store.delete(key)


def test_the_tasks_do_the_whole_of_their_work(
    as_account: Callable[[str], Lake], emptied: ObjectStore, tmp_path: Path
) -> None:
    lake = as_account("tasks")
    interactions = ingest(lake, write_logs(tmp_path / "logs", 0, 2))
    build_and_record_training(lake, interactions, 1)
    for number in range(3):
        lake.tables.append(CONTRACT, table([interaction(1000 + number)]), key=str(number))
    put(lake.store, "agents", "g", 1, 1, lines([interaction(2000)]))
    collect_all(lake, CONTRACT, "agents")
    later = open_lake(lake.settings, clock=lambda: datetime.now(UTC) + timedelta(days=14))
    done = run_maintenance(later, CONTRACT, MaintenancePolicy(compaction=CompactionPolicy(min_files=2)))
    assert done
    assert (done.expired > 0, done.orphans > 0) == (True, True)
    save_section(lake.store, "run", 10, "Deck", "<p>fine</p>")
    lake.leases.acquire("training/agents", "me", 60)
    assert [result.fault for result in check(lake.settings) if result.place] == ["", ""]
    assert len(list(emptied.list(""))) > 20


def test_retention_removes_rows_and_raw_objects_and_never_an_entry_of_the_ledger(
    as_account: Callable[[str], Lake], emptied: ObjectStore, tmp_path: Path
) -> None:
    lake = as_account("tasks")
    ingest(lake, write_logs(tmp_path / "logs", 0, 1))
    after = datetime.now(UTC) + timedelta(days=CONTRACT.retention_days + 60)
    remove_due(lake, CONTRACT, find_due(lake, CONTRACT, after))
    assert list(emptied.list("raw/")) == []
    lake.ledger.append("models/agents", "tried", "key", {})
    with pytest.raises(PeerError, match="AccessDenied"):
        lake.store.delete(ENTRY)


def test_the_tasks_write_and_delete_checkpoints(as_account: Callable[[str], Lake], emptied: ObjectStore) -> None:
    store = as_account("tasks").store
    for key in ("ml/checkpoints/k/step-000040/state.safetensors", "scratch/replay/x", "ml/tuning/s/checkpoints/k/x"):
        store.write(key, b"x")
        store.delete(key)
    assert list(emptied.list("ml/")) == []


def test_the_gateway_can_only_put_rows_into_the_inbox_and_read_the_ledger(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    as_account("tasks").ledger.append("models/agents", "tried", "key", {})
    lake = as_account("gateway")
    assert lake.ledger.entries("models/agents")[0].key == "key"
    put(lake.store, "agents", "g", 1, 1, lines([interaction(0)]))
    assert [result.fault for result in check(lake.settings) if result.place] == ["", ""]
    for refused in (
        lambda: lake.ledger.append("models/agents", "forged", "other", {}),
        lambda: lake.store.delete(ENTRY),
        lambda: lake.store.read("raw/agents/x"),
        lambda: lake.store.write("ml/models/agents/v1/manifest.json", b"{}"),
    ):
        with pytest.raises(PeerError, match="AccessDenied"):
            refused()


def test_the_rollout_controller_ingests_the_inbox_including_bad_rows(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    put(as_account("gateway").store, "agents", "g", 1, 2, lines([interaction(0), interaction(1, latency_ms=-5)]))
    lake = as_account("rollout")
    (done,) = collect_all(lake, CONTRACT, "agents")
    assert (done.committed, done.quarantined) == (1, 1)
    assert list(emptied.list("inbox/")) == list(emptied.list("staged/")) == []
    lake.leases.acquire("rollout/agents", "me", 60)


def test_the_lake_consumer_ingests_events_including_bad_rows_and_redeliveries(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    lake = as_account("lake-consumer")
    rating = {"interaction_id": "i000001", "value": 1, "timestamp": "2026-10-02T00:00:00Z"}
    bodies = (
        *map(event, range(5)),
        event(900, rating, type="fuelline.agent.feedback.v1"),
        event(901, {**interaction(901), "tokens_used": -1}),
        b"no event",
    )
    sent = [Message(body=body, content_type=STRUCTURED) for body in bodies]
    ingest_batch(lake, sent)
    again = (*sent, Message(body=event(5), content_type=STRUCTURED))
    ingest_batch(lake, [replace(message, redelivered=True) for message in again])
    version = lake.tables.current(CONTRACT)
    assert version
    assert version.rows == 6
    lost = "warehouse/processed/agent_interactions/data/of-a-commit-that-lost-its-race.parquet"
    lake.store.write(lost, b"")
    lake.store.delete(lost)
    for number in range(3 * CHECKPOINT_EVERY):
        lake.ledger.append("sources/rabbitmq", "tried", str(number), {})
    assert len(list(emptied.list("ledger/sources/rabbitmq/checkpoints/"))) == 2
    assert list(emptied.list("staged/")) == []


def test_the_lake_consumer_can_access_only_the_data_of_the_broker(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    lake = as_account("lake-consumer")
    ingest_batch(lake, [Message(body=event(0), content_type=STRUCTURED)])
    (raw,) = emptied.list("raw/agents/")
    for refused in (
        lambda: lake.ledger.append("models/agents", "forged", "other", {}),
        lambda: lake.store.delete(raw),
        lambda: lake.store.delete("ledger/sources/rabbitmq/e000000000000.json"),
        lambda: lake.store.write("raw/agents/agents/2026-11-09/x.jsonl", b"{}"),
        lambda: lake.store.read("inbox/agents/g/1-1.jsonl"),
        lambda: lake.store.read("warehouse/ml/user_features/data/x.parquet"),
        lambda: lake.store.read("keys/streaming"),
    ):
        with pytest.raises(PeerError, match="AccessDenied"):
            refused()


def test_the_streaming_consumer_can_read_only_the_key_of_the_user_pseudonyms(
    as_account: Callable[[str], Lake], emptied: ObjectStore, redis_url: str
) -> None:
    lake = as_account("streaming-consumer")
    online = lake.settings.model_copy(update={"online": redis_url})
    assert open_stream(open_lake(online)).key == emptied.read("keys/streaming")
    for refused in (
        lambda: lake.ledger.entries("models/agents"),
        lambda: lake.store.read("warehouse/processed/agent_interactions/data/x.parquet"),
        lambda: lake.store.write("inbox/agents/x", b""),
        lambda: lake.store.delete("keys/streaming"),
    ):
        with pytest.raises(PeerError, match="AccessDenied"):
            refused()


def test_the_reconciler_can_read_the_ledger_and_write_nothing(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    as_account("tasks").ledger.append("models/agents", "tried", "key", {})
    lake = as_account("vllm")
    assert len(lake.ledger.entries("models/agents")) == 1
    with pytest.raises(PeerError, match="AccessDenied"):
        lake.store.write("inbox/agents/x", b"")


def append_entries(settings: Settings, worker: int) -> None:
    ledger = open_lake(settings).ledger
    for number in range(20):
        ledger.append("work", "told", f"{worker}-{number}", {})


def test_concurrent_writers_on_a_real_server_do_not_overwrite_each_other(
    as_account: Callable[[str], Lake], emptied: ObjectStore
) -> None:
    lake = as_account("tasks")
    at_once(append_entries, [(lake.settings, worker) for worker in range(4)])
    assert lake.ledger.verify("work") == 80


def test_an_unknown_account_is_an_error_that_names_the_setting(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^FUELLINE_S3_ACCESS_KEY: S3 denies access to the bucket 'fuelline'"):
        open_lake(account_settings(endpoint, tmp_path, "nobody"))


def test_a_real_server_accepts_the_lifecycle_rules(endpoint: str, tmp_path: Path) -> None:
    chosen = account_settings(endpoint, tmp_path)
    store = S3Store(chosen.store_address, chosen)
    rules = lifecycle(contracts().values(), chosen, "GLACIER")
    for rule in rules["Rules"]:
        rule.pop("Transitions", None)  # this server has no cold tier
    store.client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=rules)  # type: ignore[arg-type]
    assert len(store.client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]) == len(rules["Rules"])
