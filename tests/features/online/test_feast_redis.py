"""The private methods of Feast that online reads call: they belong to one version, which this test names."""

import inspect
from importlib.metadata import version

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore

TRIED = "0.67"
SIGNATURES = {
    "_get_client_async": ["self", "online_store_config"],
    "_generate_hset_keys_for_features": ["self", "feature_view", "requested_features", "fv_name_override"],
    "_get_features_for_entity": ["self", "values", "feature_view", "requested_features"],
}
REMEDY = (
    "Compare features/online/feast_redis.py with online_read_async in the new feast/infra/online_stores/redis.py, "
    "call public functions if there are any now, run test_reader.py (it compares the values with Feast's own answer), "
    "then set TRIED and SIGNATURES here and the bound in pyproject.toml."
)


def test_the_installed_feast_is_the_version_whose_private_methods_were_tried() -> None:
    assert version("feast").rpartition(".")[0] == TRIED, f"Feast {version('feast')} was not tried. {REMEDY}"


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_private_method_of_feast_takes_the_parameters_that_reads_pass(name: str) -> None:
    method = getattr(RedisOnlineStore, name, None)
    parameters = list(inspect.signature(method).parameters) if method else None
    assert parameters == SIGNATURES[name], f"RedisOnlineStore.{name} has changed. {REMEDY}"
