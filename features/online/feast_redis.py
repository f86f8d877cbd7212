"""How Feast stores features in Redis, for reads without the planning that Feast repeats for every request.

Feast has a public function for the keys of the hashes, but none for their field names, for decoding their values or for
its asynchronous client. So this module, and no other, calls private methods of Feast's Redis store;
``tests/features/online/test_feast_redis.py`` names the version of Feast that they belong to.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast import FeatureView, RepoConfig
    from feast.infra.online_stores.online_store import OnlineStore
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from redis.asyncio import Redis

StoredValues = tuple[datetime | None, dict[str, Any] | None]
"""The values of one view and entity in Feast's store, and their time."""


class FeastRedis:
    """The hashes of Feast's Redis store: one for each entity, whose fields are the features of all views."""

    def __init__(self, config: "RepoConfig", online: "OnlineStore") -> None:
        from feast.infra.key_encoding_utils import serialize_entity_key

        self._config, self._online, self._serialize = config, online, serialize_entity_key

    async def client(self) -> "Redis":
        """Feast's client, which connects on first use."""
        client: Redis = await self._online._get_client_async(self._config.online_store)
        return client

    def key(self, entity: "EntityKey") -> bytes:
        """The key of an entity's hash."""
        serialized: bytes = self._serialize(entity, self._config.entity_key_serialization_version)
        return serialized + self._config.project.encode()

    def fields(self, view: "FeatureView", features: Sequence[str]) -> tuple[list[str], list[bytes | str]]:
        """The names of a view's features and of its time, and the fields of the hash that hold them."""
        names, fields = self._online._generate_hset_keys_for_features(view, list(features))
        return names, fields

    def decoded(self, values: Sequence[bytes | None], view: str, names: list[str]) -> StoredValues:
        """The features in the fields' values; ``names`` as from ``fields``."""
        found: StoredValues = self._online._get_features_for_entity(values, view, names)
        return found
