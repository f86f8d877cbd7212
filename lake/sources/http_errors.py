"""What a response says beside its body, and what an error of urllib3 means."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as HTTPTimeout

SAID_CHARACTERS = 200
"""How much of a server's own words about a refused request an error repeats."""


def date_of(stated: str, otherwise: datetime) -> datetime:
    """An HTTP date, or the other time where it is none."""
    try:
        return parsedate_to_datetime(stated).astimezone(UTC)
    except ValueError:
        return otherwise


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in small letters."""
    return {name.lower(): value for name, value in headers.items()}


def is_limited(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether a 403 is GitHub's way to say 429."""
    spent = response.headers.get("X-RateLimit-Remaining") == "0"
    return response.status == 403 and (spent or "Retry-After" in response.headers)


def kind_of(error: Exception) -> str:
    """``down``, ``timeout`` or ``truncated``."""
    if isinstance(error, NewConnectionError):
        return "down"  # urllib3 has it among the timeouts, although nobody waited
    if isinstance(error, HTTPTimeout):
        return "timeout"
    return "truncated" if isinstance(error, ProtocolError) and "IncompleteRead" in str(error) else "down"


def said(body: bytes) -> str:
    """The server's own words, where it says them in a field for that."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    words = (told.get("error") or told.get("message")) if isinstance(told, dict) else None
    return f": {words[:SAID_CHARACTERS]}" if isinstance(words, str) else ""
