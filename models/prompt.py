"""How an agent's request becomes messages: one function that training and the gateway both call.

So there is no train/serve skew by construction. The system part is kept to some twenty tokens: small models are trained
and served on processors, and every row pays for it. Features enter as coarse words rather than numbers, because a
small model reads words better and because a value that is a little stale then renders the same.

Any change of what ``render`` returns must move ``PROMPT_VERSION``; a golden test holds both together.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

PROMPT_VERSION = "1"

REGULAR_QUERIES = 20
"""Queries from which on a user counts as a regular."""
BRIEF_CHARACTERS = 40.0
"""Average query length under which a user writes briefly."""


class PromptFeatures(Protocol):
    """Anything with the user features as attributes, such as one row of the online store."""

    @property
    def total_queries(self) -> int | None:
        """How many queries of the user there were."""

    @property
    def avg_query_length(self) -> float | None:
        """Their mean length, characters."""


def render(agent_name: str, features: Mapping[str, Any] | PromptFeatures | None, query: str) -> list[dict[str, str]]:
    """Render one request.

    Args:
        agent_name: the agent that answers, by its name in the registry.
        features: the user's features by name; missing ones (absent, ``None``, NaN) read as a new user's.
        query: the user's words, unchanged.

    Returns:
        Chat messages (``role``, ``content``): the system's, then the user's.
    """
    system = f"You are {agent_name}, a helpful assistant. The user is {_user(features)}."
    return [{"role": "system", "content": system}, {"role": "user", "content": query}]


def _user(features: Mapping[str, Any] | PromptFeatures | None) -> str:
    queries, length = _number(features, "total_queries"), _number(features, "avg_query_length")
    if queries < 1:
        return "new"
    kind = "a regular" if queries >= REGULAR_QUERIES else "returning"
    return f"{kind} and brief" if 0 < length < BRIEF_CHARACTERS else kind


def _number(features: Mapping[str, Any] | PromptFeatures | None, name: str) -> float:
    """The feature's value; 0.0 where it is missing."""
    value = features.get(name) if isinstance(features, Mapping) else getattr(features, name, None)
    return 0.0 if value is None or math.isnan(value) else float(value)
