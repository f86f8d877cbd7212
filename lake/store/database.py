"""How Postgres is reached, said once for the Iceberg catalogue, Feast's registry and MLflow.

A connection is tried for as long as a restart takes, and only the connection: a statement is never sent twice, so a
commit whose answer was lost is for its writer to look after. A pool is small, because every task is a process of its
own, and asks a connection whether it still stands before it is used.
"""

import contextlib
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from errors import PeerError, SettingsError
from hints import away, wrong

if TYPE_CHECKING:
    from sqlalchemy import Engine

CONNECT_S = 5
PATIENCE_S = 20.0
"""As long as a restart or a fail-over of Postgres takes."""
PAUSE_S = 0.5
ENGINE = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 8}
"""For SQLAlchemy: a connection is kept for each of two threads."""
POSTGRES = "postgresql"
TRIES = 4
T = TypeVar("T")


def sql_address(address: str) -> str:
    """The address as SQLAlchemy takes it: Postgres by psycopg, which gives up in seconds and says who asks."""
    from sqlalchemy import make_url

    if not address.startswith(POSTGRES):
        return address
    url = make_url(address)
    stated = {"connect_timeout": str(CONNECT_S), "application_name": "fuelline", **url.query}
    driver = url.drivername if "+" in url.drivername else f"{POSTGRES}+psycopg"
    return url.set(drivername=driver, query=stated).render_as_string(hide_password=False)


def opened(setting: str, address: str, step: Callable[[], T]) -> T:
    """Do what makes a database's tables where there are none. Of several processes that make them at the same moment,
    all but one are refused, and look again.

    Raises:
        SettingsError: the database is not there or not for this user.
        PeerError: it does not answer.
    """
    from sqlalchemy.exc import DBAPIError

    for _ in range(TRIES - 1):
        with contextlib.suppress(DBAPIError):
            return step()
    try:
        return step()
    except DBAPIError as error:
        if address.startswith(POSTGRES):
            raise refused(setting, error.orig or error) from error
        raise wrong(setting, f"the database cannot be opened ({type(error.orig).__name__})") from error


def knock(setting: str, address: str) -> None:
    """Connect once, say nothing, and go.

    Raises:
        SettingsError: the database is not there or not for this user.
        PeerError: it does not answer.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    try:
        create_engine(sql_address(address), poolclass=NullPool).connect().close()
    except DBAPIError as error:
        raise refused(setting, error.orig or error) from error


def make_patient(engine: "Engine", setting: str) -> None:
    """Let an engine wait for Postgres while it restarts, and let what is lost then be told by the setting's name."""
    from sqlalchemy import event

    def connect(dialect: Any, _record: Any, arguments: Any, named: Any) -> Any:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return dialect.connect(*arguments, **named)
            except dialect.loaded_dbapi.OperationalError as error:
                if isinstance(told := refused(setting, error), SettingsError) or time.monotonic() > end:
                    raise told from error
            time.sleep(PAUSE_S)

    def fail(context: Any) -> None:
        if context.is_disconnect and not context.is_pre_ping:
            raise away(setting, "the database broke the connection off") from context.original_exception

    if engine.dialect.name == POSTGRES:
        event.listen(engine, "do_connect", connect)
        event.listen(engine, "handle_error", fail)


def refused(setting: str, error: BaseException) -> SettingsError | PeerError:
    """What is said of a connection that did not come about; never the server's own words, an address may be in them."""
    text = re.sub(r"\s+", " ", str(error))
    for pattern, reason in _WRONG.items():
        if found := re.search(pattern, text):
            return wrong(setting, reason.format(*found.groups()))
    for pattern, reason in _AWAY.items():
        if re.search(pattern, text):
            return away(setting, reason)
    return away(setting, f"the database takes no connection ({type(error).__name__})")


_WRONG = {
    r'password authentication failed for user "([^"]*)"': "the database refuses the password of {0!r}",
    r'database "([^"]*)" does not exist': "there is no database {0!r} on that server",
    r'role "([^"]*)" does not exist': "there is no user {0!r} on that server",
    r'permission denied for (database|schema|table) "?([^"\s]*)': "the user may not use the {0} {1!r}",
    r"no password supplied": "the address holds no password, and the database asks for one",
    r"no pg_hba.conf entry": "the database lets nobody in from here under that user, or only over TLS",
    r"certificate verify failed|root certificate file": "the certificate of the database is not trusted (sslrootcert)",
    r"does not support SSL": "the database speaks no TLS, and sslmode asks for it",
}
_AWAY = {
    r"could not translate host name|Name or service not known|failed to resolve host": "the host has no address",
    r"starting up|shutting down|recovery mode": "the database is starting or stopping",
    r"[Cc]onnection refused": "nothing listens there",
    r"timeout expired|timed out": "it takes no connection",
    r"too many (clients|connections)|remaining connection slots": "the database has no connection left for anybody",
}
