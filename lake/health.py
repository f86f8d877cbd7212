"""Is every service there that a setting names, and does it take us? Asked at start, so that nothing fails halfway.

A task asks of what it uses (``ready``), a person of everything (``fuelline check``). What is not set is embedded and
needs no asking. Each answer names the setting, the reason and an example, and never a password.
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
from hints import away, wrong
from lake.store.database import knock
from lake.store.objects import ObjectStore, open_store
from settings import Settings

log = logging.getLogger("fuelline.services")

ANSWER_S = 5.0
PROBE = "checks/conditional-put"
"""One small object a lake, put once: whoever finds it knows that it cannot be put twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What came of asking one service."""

    setting: str
    """``FUELLINE_STORE``, for example."""
    place: str
    """Where it is, without user and password; empty where the embedded part stands in."""
    fault: str = ""
    """Empty: it is there and takes us."""


def check(settings: Settings) -> list[Checked]:
    """Ask every service once, without patience."""
    return [_checked(settings, name) for name in CHECKS]


def ready(settings: Settings, *names: str) -> None:
    """See that the services of these settings are there, once a process; costs a round trip each.

    Raises:
        SettingsError: a setting is wrong.
        PeerError: a service does not answer.
    """
    for name in names:
        if _stated(settings, name):
            _ready(settings, name)


def refuse_wrong(settings: Settings, *names: str) -> None:
    """For what is to start although a service is away: that costs a warning.

    Raises:
        SettingsError: a setting is wrong.
    """
    for name in names:
        try:
            ready(settings, name)
        except PeerError as error:
            log.warning("%s", error)


@functools.lru_cache(maxsize=64)
def _ready(settings: Settings, name: str) -> None:
    CHECKS[name](settings)


def _checked(settings: Settings, name: str) -> Checked:
    variable = f"FUELLINE_{name.upper()}"
    if not (stated := _stated(settings, name)):
        return Checked(setting=variable, place="")
    place = ", ".join(map(_place, settings.vllm_replicas if name == "vllm" else [stated]))
    try:
        CHECKS[name](settings)
        if name == "store" and stated.startswith("s3://"):
            _refuses_a_second_put(open_store(settings))
    except FuellineError as error:
        return Checked(setting=variable, place=place, fault=str(error))
    return Checked(setting=variable, place=place)


def _stated(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _place(address: str) -> str:
    """The address without user, password and options."""
    scheme, is_url, rest = address.partition("://")
    return f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}" if is_url else address


def _store(settings: Settings) -> None:
    open_store(settings)


def _refuses_a_second_put(store: ObjectStore) -> None:
    """The ledger stands on conditional puts; where they are ignored, one writer would erase what another wrote."""
    try:
        for _ in range(2):
            store.create(PROBE, b"put once")
    except ObjectExists:
        return
    except PeerError as error:
        if "AccessDenied" not in str(error):
            raise
        return  # an account that may not write there has no entry to lose
    raise wrong(
        "store", f"{store.address} takes a second put under a condition that forbids it: the ledger is not safe"
    )


def _catalog(settings: Settings) -> None:
    knock("catalog", settings.catalog)


def _online(settings: Settings) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

    try:
        with Redis.from_url(settings.online, socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S) as client:
            client.ping()
    except (AuthenticationError, NoPermissionError) as error:
        raise wrong("online", "Redis refuses this user or password") from error
    except (ResponseError, ValueError) as error:
        raise wrong("online", f"Redis does not take this address ({type(error).__name__})") from error
    except (RedisError, OSError) as error:
        if "CERTIFICATE" in str(error).upper():
            raise wrong("online", "the certificate of Redis is not trusted here (?ssl_ca_certs=)") from error
        raise away("online", f"Redis does not answer ({type(error).__name__})") from error


def _tracking(settings: Settings) -> None:
    if settings.tracking.startswith("http"):
        _get("tracking", f"{settings.tracking.rstrip('/')}/health")
    else:
        knock("tracking", settings.tracking)


def _rabbitmq(settings: Settings) -> None:
    import pika.exceptions

    from lake.sources.broker import connected

    try:
        with connected(settings):
            return
    except (pika.exceptions.AMQPError, OSError) as error:
        raise away("rabbitmq", f"the broker does not answer ({type(error).__name__})") from error


def _vllm(settings: Settings) -> None:
    for replica in settings.vllm_replicas:
        _get("vllm", f"{replica}/health")


def _get(setting: str, url: str) -> None:
    """A replica or a server is a private address, which no proxy of the environment should see."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=ANSWER_S).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise wrong(setting, f"{_place(url)} refuses this user ({error.code})") from error
        raise away(setting, f"{_place(url)} answers {error.code}") from error
    except OSError as error:
        raise away(setting, f"{_place(url)} does not answer ({type(error).__name__})") from error


CHECKS: dict[str, Callable[[Settings], None]] = {
    "store": _store,
    "catalog": _catalog,
    "online": _online,
    "tracking": _tracking,
    "rabbitmq": _rabbitmq,
    "vllm": _vllm,
}
"""By setting. Peers that data are pulled from are asked when they are."""
