"""Feast's registry in a real Postgres: several processes register the same definitions at once, and each its own."""

from features.definitions.views import SERVICES, VIEWS
from features.online.feast_repo import open_feature_store, register_model_version
from settings import Settings
from tests.lake.processes import at_once

WRITERS = 2


def register(settings: Settings, number: int) -> None:
    register_model_version(open_feature_store(settings), f"agents@v{number}", next(iter(SERVICES)))


def test_several_appliers_at_once_leave_every_definition_once(settings: Settings, database: str) -> None:
    shared = settings.model_copy(update={"catalog": database})
    at_once(register, [(shared, number) for number in range(WRITERS)])
    store = open_feature_store(shared)
    assert sorted(view.name for view in store.list_feature_views()) == sorted(view.name for view in VIEWS)
    services = sorted(service.name for service in store.list_feature_services())
    assert services == sorted([*SERVICES, *(f"agents@v{number}" for number in range(WRITERS))])
    assert {service.tags["service"] for service in store.list_feature_services()} <= SERVICES.keys()
