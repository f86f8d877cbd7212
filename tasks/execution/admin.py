"""Calls to FlyteAdmin: the connection, one deadline per call, and its answers as errors of Fuelline."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from flytekit.clients.grpc_utils.deadline_interceptor import scoped_grpc_deadline
from flytekit.configuration import Config, PlatformConfig
from flytekit.exceptions.system import FlyteSystemException
from flytekit.exceptions.user import FlyteAuthenticationException, FlyteInvalidInputException, FlyteTimeout
from flytekit.remote import FlyteRemote

from errors import PeerError, UserError

DEADLINE_S = 60
"""Per call. The largest, a compiled workflow, takes FlyteAdmin about a second."""


def connect(config: Config, *, project: str, domain: str) -> FlyteRemote:
    """The server that ``config`` names. Sends nothing."""
    return FlyteRemote(config, default_project=project, default_domain=domain, interactive_mode_enabled=False)


@contextmanager
def admin_errors(platform: PlatformConfig) -> Iterator[None]:
    """A block of calls to the server, with a deadline for each call.

    Raises:
        PeerError: it does not answer, or its answer is invalid.
        UserError: it refused the request or the credentials.
    """
    where = f"FlyteAdmin at {platform.endpoint}"
    try:
        with scoped_grpc_deadline(DEADLINE_S):
            yield
    except FlyteAuthenticationException as error:
        raise UserError(f"{where} does not accept these credentials: {_details(error)}") from error
    except FlyteInvalidInputException as error:
        raise UserError(f"{where} refused: {_details(error)}") from error
    except (FlyteSystemException, FlyteTimeout) as error:
        raise PeerError(f"{where} does not answer: {_details(error)}") from error


def _details(error: BaseException) -> str:
    """The server's message, which flytekit's errors keep only as their cause."""
    cause = error.__cause__
    return f"{cause.code().name}, {cause.details()}" if isinstance(cause, grpc.Call) else str(error)
