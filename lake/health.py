"""Check that the services which the settings name answer and accept us.

A task checks those that it uses when it starts (``require_ready``), so that it does not fail halfway; ``fuelline
check`` checks all. A setting that is empty means an embedded part, which needs no check. Every error names the
setting, the reason and an example, and never a password.
"""

import functools
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

from errors import FuellineError, ObjectExists, PeerError
from hints import invalid_setting, unavailable
from lake.store.database import ping
from lake.store.objects import ObjectStore
from lake.store.open import open_store
from settings import Settings

log = logging.getLogger("fuelline.services")

TIMEOUT_S = 5.0
PROBE = "checks/conditional-put"
"""A small object in each lake that is put twice: the second put must fail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceCheck:
    """The result of checking one service. ``fuelline check --json`` prints it."""

    setting: str
    """``FUELLINE_STORE``, for example."""
    place: str
    """The address without user and password; empty for the embedded part."""
    fault: str = ""
    """Why it cannot be used; empty where it can."""


def check(settings: Settings) -> list[ServiceCheck]:
    """Check every service once, without retries."""
    return [_checked(settings, name) for name in CHECKS]


def require_ready(settings: Settings, *names: str) -> None:
    """Require the services of these settings to answer. Each is checked once per process, with one round trip.

    Raises ``SettingsError`` where a setting is invalid, ``PeerError`` where a service does not answer.
    """
    for name in names:
        if _value(settings, name):
            _check_once(settings, name)


def require_valid(settings: Settings, *names: str) -> None:
    """Require valid settings, for a process that starts even if a service does not answer: that is only logged."""
    for name in names:
        try:
            require_ready(settings, name)
        except PeerError as error:
            log.warning("%s", error)


@functools.lru_cache(maxsize=64)
def _check_once(settings: Settings, name: str) -> None:
    CHECKS[name](settings)


def _checked(settings: Settings, name: str) -> ServiceCheck:
    variable, fault = f"FUELLINE_{name.upper()}", ""
    if not (value := _value(settings, name)):
        return ServiceCheck(setting=variable, place="")
    try:
        CHECKS[name](settings)
        if name == "store" and value.startswith("s3://"):
            _require_conditional_put(open_store(settings))
    except FuellineError as error:
        fault = str(error)
    place = ", ".join(map(_place, settings.vllm_replicas if name == "vllm" else [value]))
    return ServiceCheck(setting=variable, place=place, fault=fault)


def _value(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _place(address: str) -> str:
    """The address without user, password and options."""
    scheme, is_url, rest = address.partition("://")
    return f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}" if is_url else address


def _require_conditional_put(store: ObjectStore) -> None:
    """The ledger relies on conditional puts: if the store ignored them, one writer would overwrite another's entry."""
    try:
        for _ in range(2):
            store.create(PROBE, b"put once")
    except ObjectExists:
        return
    except PeerError as error:
        if "AccessDenied" not in str(error):
            raise
        return  # an account that may not write there has no entry to lose
    raise invalid_setting(
        "store", f"{store.address} ignores the condition of a conditional put, so the ledger is not safe"
    )


def _online(settings: Settings) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

    try:
        with Redis.from_url(settings.online, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S) as client:
            client.ping()
    except (AuthenticationError, NoPermissionError) as error:
        raise invalid_setting("online", "Redis refuses this user or password") from error
    except (ResponseError, ValueError) as error:
        raise invalid_setting("online", f"Redis does not accept this address ({type(error).__name__})") from error
    except (RedisError, OSError) as error:
        if "CERTIFICATE" in str(error).upper():
            raise invalid_setting("online", "the certificate of Redis is not trusted (?ssl_ca_certs=)") from error
        raise unavailable("online", f"Redis does not answer ({type(error).__name__})") from error


def _tracking(settings: Settings) -> None:
    if settings.tracking.startswith("http"):
        _get("tracking", f"{settings.tracking.rstrip('/')}/health")
    else:
        ping("tracking", settings.tracking)


def _rabbitmq(settings: Settings) -> None:
    import pika.exceptions

    from lake.sources.broker import connected

    try:
        with connected(settings):
            return
    except (pika.exceptions.AMQPError, OSError) as error:
        raise unavailable("rabbitmq", f"the broker does not answer ({type(error).__name__})") from error


def _vllm(settings: Settings) -> None:
    for replica in settings.vllm_replicas:
        _get("vllm", f"{replica}/health")


def _get(setting: str, url: str) -> None:
    """Request the URL without a proxy of the environment: replicas and servers have private addresses."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise invalid_setting(setting, f"{_place(url)} refuses this user ({error.code})") from error
        raise unavailable(setting, f"{_place(url)} answers {error.code}") from error
    except OSError as error:
        raise unavailable(setting, f"{_place(url)} does not answer ({type(error).__name__})") from error


CHECKS: dict[str, Callable[[Settings], object]] = {
    "store": open_store,
    "catalog": lambda settings: ping("catalog", settings.catalog),
    "online": _online,
    "tracking": _tracking,
    "rabbitmq": _rabbitmq,
    "vllm": _vllm,
}
"""The check for each setting. Servers that data are pulled from are not checked before."""
