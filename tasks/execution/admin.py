"""Calls to FlyteAdmin: one deadline per call, and its answers as errors of Fuelline."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from flytekit.clients.grpc_utils.deadline_interceptor import scoped_grpc_deadline
from flytekit.configuration import PlatformConfig
from flytekit.exceptions.system import FlyteSystemException
from flytekit.exceptions.user import FlyteAuthenticationException, FlyteInvalidInputException, FlyteTimeout

from errors import PeerError, UserError


@contextmanager
def admin_errors(platform: PlatformConfig) -> Iterator[None]:
    """A block of calls to the server, with a deadline for each call.

    Raises PeerError where it does not answer or its answer is invalid, UserError where it refuses the request.
    """
    where = f"FlyteAdmin at {platform.endpoint}"
    try:
        with scoped_grpc_deadline(60):  # seconds; the largest, a compiled workflow, takes FlyteAdmin about one
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
