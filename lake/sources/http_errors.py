"""How responses and errors of urllib3 are read: the time in a header, the kind of a failure, the server's message."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as HTTPTimeout

MESSAGE_CHARACTERS = 200
"""Length at which a server's error message is cut."""


def parse_date(header: str) -> datetime | None:
    """The time of an HTTP date (UTC); None where the header is no date."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except ValueError:
        return None


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def is_rate_limited(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether this is a 403 that GitHub sends in place of a 429."""
    spent = response.headers.get("X-RateLimit-Remaining") == "0"
    return response.status == 403 and (spent or "Retry-After" in response.headers)


def kind_of(error: Exception) -> str:
    """``down``, ``timeout`` or ``truncated``."""
    if isinstance(error, NewConnectionError):
        return "down"  # a subclass of urllib3's timeout, although nothing has timed out
    if isinstance(error, HTTPTimeout):
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
