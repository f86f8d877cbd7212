"""The schedule that drains the broker, as the scheduler starts it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.sources.broker import DEAD_LETTERS
from lake.sources.events import QUEUE
from lake.store.ledger import utc_now
from settings import read_settings, settings
from tasks.environments import SECRETS
from tests.lake.events import connection, event, left, publish

PERIOD = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def _fresh_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rabbitmq_url: str) -> Iterator[None]:
    """A fresh lake and the broker, as the tasks of this process open them."""
    monkeypatch.setenv("FUELLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUELLINE_RABBITMQ", rabbitmq_url)
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    settings.cache_clear()
    yield
    settings.cache_clear()
    with connection(read_settings(rabbitmq=rabbitmq_url)) as opened:
        for queue in (QUEUE, DEAD_LETTERS):
            opened.channel().queue_delete(queue)


def test_a_fire_drains_the_queue_and_a_late_fire_of_the_same_window_does_nothing() -> None:
    from lake.lake import open_lake
    from workflows.events import scheduled_events

    publish(settings(), [event(n) for n in range(20)])
    kickoff = utc_now()
    assert scheduled_events(kickoff=kickoff) == [20]
    publish(settings(), [event(20)])
    assert scheduled_events(kickoff=kickoff - PERIOD) == []
    assert left(settings()) == 1
    table = open_lake().tables.current(AGENT_INTERACTIONS)
    assert table
    assert table.rows == 20


def test_only_the_task_that_drains_the_queue_has_the_address_of_the_broker() -> None:
    from tasks.events import drain_due

    assert "FUELLINE_RABBITMQ" in {secret.key for secret in drain_due.security_context.secrets}
    assert "FUELLINE_RABBITMQ" not in {secret.key for secret in SECRETS}
