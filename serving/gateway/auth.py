"""Keys by which the gateway knows an agent. Only their sha256 is kept, so the file that holds them lets nobody in.

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
from hints import wrong
from lake.contracts.registries import AGENTS

PREFIX = "fl-"
"""So that a scanner for leaked secrets, or a person, knows one when it sees one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Who may come in."""

    agents: Mapping[str, str]
    """Agents' names by the sha256 of their keys, in hex."""

    def agent_of(self, key: str) -> str | None:
        """Whose key this is. Every stored hash is compared, each in constant time: time tells nothing."""
        presented, found = digest(key), None
        for known, agent in self.agents.items():
            if hmac.compare_digest(known, presented):
                found = agent
        return found


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def make_key() -> str:
    """A new key."""
    return PREFIX + secrets.token_urlsafe(32)


def read_keys(path: Path) -> Keys:
    """Read a file such as ``{"<sha256>": "jamie"}``.

    Raises:
        SettingsError: the file cannot be read, or is no such file.
    """
    try:
        stored = json.loads(path.read_bytes())
    except OSError as error:
        raise wrong("keys", f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError:
        raise wrong("keys", f"{str(path)!r} is not JSON") from None
    if not isinstance(stored, dict) or not all(re.fullmatch("[0-9a-f]{64}", key) for key in stored):
        raise wrong("keys", f'{str(path)!r} must hold {{"<sha256 of a key>": "<agent>", ...}}')
    if strangers := {str(agent) for agent in stored.values()} - AGENTS.keys():
        raise wrong("keys", f"{str(path)!r}: {UnknownName('agent', sorted(strangers)[0], AGENTS)}")
    return Keys(agents=stored)
