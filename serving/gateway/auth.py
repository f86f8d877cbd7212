"""Keys by which the gateway identifies an agent. Only their SHA-256 is stored, so the key file gives no access.

A key is 256 random bits: no dictionary finds it from its hash, so a slow hash would cost every request and add nothing.
``fuelline keys create jamie`` makes one.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from errors import UnknownName
from hints import invalid_setting
from lake.contracts.registries import AGENTS

PREFIX = "fl-"
"""Lets people and scanners for leaked secrets recognise a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeys:
    """The agents by the hashes of their keys."""

    agents: Mapping[str, str]
    """Agent name by the SHA-256 of its key, in hex."""

    def agent_of(self, key: str) -> str | None:
        """The agent whose key this is. Compares with every stored hash, always in constant time, to reveal nothing."""
        presented, agent = key_digest(key), None
        for stored, owner in self.agents.items():
            if hmac.compare_digest(stored, presented):
                agent = owner
        return agent


def key_digest(key: str) -> str:
    """The stored form of a key: its SHA-256 in hex."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def make_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def read_keys(path: Path) -> ApiKeys:
    """Read a file such as ``{"<sha256>": "jamie"}``. Raises ``SettingsError`` where it cannot, or has another form."""
    try:
        stored = json.loads(path.read_bytes())
    except OSError as error:
        raise invalid_setting("keys", f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError:
        raise invalid_setting("keys", f"{str(path)!r} is not JSON") from None
    if not isinstance(stored, dict) or not all(re.fullmatch("[0-9a-f]{64}", key) for key in stored):
        raise invalid_setting("keys", f'{str(path)!r} must hold {{"<sha256 of a key>": "<agent>", ...}}')
    if unknown := {str(agent) for agent in stored.values()} - AGENTS.keys():
        raise invalid_setting("keys", f"{str(path)!r}: {UnknownName('agent', sorted(unknown)[0], AGENTS)}")
    return ApiKeys(agents=stored)
