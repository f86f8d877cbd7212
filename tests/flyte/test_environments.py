"""Which errors are retried, and where a task refuses to run."""

import pytest
from flytekit.exceptions.user import FlyteRecoverableException

from errors import PeerError, UnknownName
from tasks.environments import cpu


@cpu
def _reads_a_store_that_times_out(key: str) -> str:
    if key:
        raise PeerError(f"S3 failed for {key!r}: Timeout")
    return key


@cpu(enable_deck=False)
def _reads_an_unknown_model(name: str) -> str:
    if name != "agents":
        raise UnknownName("model", name, ["agents"])
    return name


def test_an_error_of_a_peer_is_retried() -> None:
    with pytest.raises(FlyteRecoverableException, match="PeerError: S3 failed for 'a': Timeout"):
        _reads_a_store_that_times_out.task_function(key="a")


def test_an_error_of_the_user_is_not_retried() -> None:
    with pytest.raises(UnknownName, match="did you mean 'agents'"):
        _reads_an_unknown_model.task_function(name="agent")


def test_on_a_cluster_a_task_without_a_shared_store_fails_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tasks.runtime
    from errors import SettingsError
    from settings import settings

    monkeypatch.setattr(tasks.runtime, "on_cluster", lambda: True)
    monkeypatch.delenv("FUELLINE_STORE", raising=False)
    settings.cache_clear()
    with pytest.raises(SettingsError, match="FUELLINE_STORE is not set"):
        tasks.runtime.task_lake()
    settings.cache_clear()
