"""How Postgres is reached, in one place for all databases of the project: address, pool, retries, errors.

A connection is retried for as long as a restart of Postgres takes. Only the connection is: a statement is never sent
twice, so a writer has to find out itself whether a commit whose reply was lost took effect. A pool is small, because
every task is a process of its own, and it tests a connection before each use.
"""

import contextlib
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from errors import PeerError, SettingsError
from hints import invalid_setting, unavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

CONNECT_S, PAUSE_S = 5, 0.5
RECONNECT_S = 20.0
"""How long a connection is retried: as long as a restart or a fail-over of Postgres takes."""
ENGINE_OPTIONS = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 8}
"""For SQLAlchemy: the pool keeps one connection for each of two threads."""
POSTGRES = "postgresql"
TRIES = 4
T = TypeVar("T")


def sql_address(address: str) -> str:
    """The address as SQLAlchemy accepts it: Postgres through psycopg, with a connection timeout and our name."""
    from sqlalchemy import make_url

    if not address.startswith(POSTGRES):
        return address
    url = make_url(address)
    stated = {"connect_timeout": str(CONNECT_S), "application_name": "fuelline", **url.query}
    driver = url.drivername if "+" in url.drivername else f"{POSTGRES}+psycopg"
    return url.set(drivername=driver, query=stated).render_as_string(hide_password=False)


def initialize_database(setting: str, address: str, create: Callable[[], T]) -> T:
    """Run ``create``, which makes a database's tables where they are missing, and return what it returns.

    When several processes make them at the same moment, the database refuses all but one; the others try again, up to
    four times. ``setting`` names the database in the errors.

    Raises:
        SettingsError: the database does not exist or refuses this user.
        PeerError: it does not answer.
    """
    from sqlalchemy.exc import DBAPIError

    for _ in range(TRIES - 1):
        with contextlib.suppress(DBAPIError):
            return create()
    try:
        return create()
    except DBAPIError as error:
        if address.startswith(POSTGRES):
            raise _connection_error(setting, error.orig or error) from error
        raise invalid_setting(setting, f"the database cannot be opened ({type(error.orig).__name__})") from error


def ping(setting: str, address: str) -> None:
    """Open a connection to the database and close it. Raises as ``initialize_database``."""
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    try:
        create_engine(sql_address(address), poolclass=NullPool).connect().close()
    except DBAPIError as error:
        raise _connection_error(setting, error.orig or error) from error


def retry_connect(engine: "Engine", setting: str) -> None:
    """Let a SQLAlchemy engine retry connections while Postgres restarts, and raise errors that name the setting."""
    from sqlalchemy import event

    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        end = time.monotonic() + RECONNECT_S
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                failure = _connection_error(setting, error)
                if isinstance(failure, SettingsError) or time.monotonic() > end:
                    raise failure from error
            time.sleep(PAUSE_S)

    def fail(context: Any) -> None:
        if context.is_disconnect and not context.is_pre_ping:
            raise unavailable(setting, "the database closed the connection") from context.original_exception

    if engine.dialect.name == POSTGRES:
        event.listen(engine, "do_connect", connect)
        event.listen(engine, "handle_error", fail)


def _connection_error(setting: str, error: BaseException) -> SettingsError | PeerError:
    """The error to raise for a failed connection. It never quotes the server, whose text may hold the address."""
    text = re.sub(r"\s+", " ", str(error))
    for pattern, reason in _INVALID.items():
        if found := re.search(pattern, text):
            return invalid_setting(setting, reason.format(*found.groups()))
    for pattern, reason in _UNAVAILABLE.items():
        if re.search(pattern, text):
            return unavailable(setting, reason)
    return unavailable(setting, f"the database does not accept a connection ({type(error).__name__})")


_INVALID = {
    r'password authentication failed for user "([^"]*)"': "the database refuses the password of {0!r}",
    r'database "([^"]*)" does not exist': "there is no database {0!r} on that server",
    r'role "([^"]*)" does not exist': "there is no user {0!r} on that server",
    r'permission denied for (database|schema|table) "?([^"\s]*)': "the user may not use the {0} {1!r}",
    r"no password supplied": "the address holds no password, and the database requires one",
    r"no pg_hba.conf entry": "the database allows no connection from this host for that user, or only over TLS",
    r"certificate verify failed|root certificate file": "the certificate of the database is not trusted (sslrootcert)",
    r"does not support SSL": "the database does not support TLS, and sslmode requires it",
}
"""Patterns of the server's or the driver's message that mean a wrong setting, and the reason to give."""
_UNAVAILABLE = {
    r"could not translate host name|Name or service not known|failed to resolve host": "the host name has no address",
    r"starting up|shutting down|recovery mode": "the database is starting or stopping",
    r"[Cc]onnection refused": "nothing listens there",
    r"timeout expired|timed out": "it does not accept a connection in time",
    r"too many (clients|connections)|remaining connection slots": "the database has no free connection",
}
"""The same for a database that may be back soon."""
