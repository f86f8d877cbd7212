"""How responses and errors of urllib3 are read: the kind of a failure, GitHub's other 429, the server's message."""

import json

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as HTTPTimeout

MESSAGE_CHARACTERS = 200
"""Length at which a server's error message is cut."""


class TransientError(HTTPError):
    """A response that may be another one a moment later."""

    def __init__(self, kind: str, response: BaseHTTPResponse | None = None) -> None:
        self.kind, self.response = kind, response
        super().__init__(kind)


def is_rate_limited(response: BaseHTTPResponse) -> bool:
    """Whether this is a 403 that GitHub sends in place of a 429."""
    spent = response.headers.get("X-RateLimit-Remaining") == "0"
    return response.status == 403 and (spent or "Retry-After" in response.headers)


def kind_of(error: Exception) -> str:
    """The kind of a ``TransientError``, else ``down``, ``timeout`` or ``truncated``."""
    if isinstance(error, TransientError):
        return error.kind
    if isinstance(error, HTTPTimeout) and not isinstance(error, NewConnectionError):  # a subclass, although no timeout
        return "timeout"
    return "truncated" if isinstance(error, ProtocolError) and "IncompleteRead" in str(error) else "down"


def error_message(body: bytes) -> str:
    """The server's message in the field ``error`` or ``message`` of a JSON body, after a colon; else nothing."""
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    message = (content.get("error") or content.get("message")) if isinstance(content, dict) else None
    return f": {message[:MESSAGE_CHARACTERS]}" if isinstance(message, str) else ""
