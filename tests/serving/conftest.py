"""The Redis of the features' tests, for the gateway."""

from tests.features.conftest import redis_url

__all__ = ["redis_url"]
