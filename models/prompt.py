"""Render an agent's request as chat messages: one function for training and for the gateway.

So both see the same prompt by construction. The system message has about twenty tokens: small models are trained and
served on CPUs, and every row pays for it. Features are rendered as a few words instead of numbers, because a small
model reads words better, and because a slightly stale value then renders the same.

A change of what ``render`` returns needs a new ``PROMPT_VERSION``; a golden test checks it.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

PROMPT_VERSION = "1"

REGULAR_QUERIES = 20
"""Number of queries from which on a user counts as a regular."""
BRIEF_CHARACTERS = 40.0
"""Mean query length, in characters, below which a user counts as brief."""


class PromptFeatures(Protocol):
    """Any object with the user features as attributes, such as a row of the online store."""

    @property
    def total_queries(self) -> int | None:
        """Number of the user's queries."""

    @property
    def avg_query_length(self) -> float | None:
        """Their mean length in characters."""


def render(agent_name: str, features: Mapping[str, Any] | PromptFeatures | None, query: str) -> list[dict[str, str]]:
    """Render a request as chat messages (``role``, ``content``): system, then user.

    Missing features (absent, ``None``, NaN) render as a new user's; the query is unchanged.
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
