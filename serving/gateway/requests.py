"""The client's request, validated: the agent, the user, and the body of a chat completion.

A client names an agent or its model, never a version: the ledger decides which version answers. A key belongs to one
agent, so where keys are required an agent can name only itself.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from errors import UnknownName, UserError
from lake.contracts.base import NAME_CHARACTERS
from lake.contracts.registries import AGENTS
from serving.gateway.route_cache import RouteCache
from serving.routing.routes import Route, route_for_agent

BODY_BYTES = 1 << 20
"""Size limit of a request's body."""
AGENT, USER, CONVERSATION, REQUEST = "x-agent", "x-user", "x-conversation-id", "x-request-id"
"""Headers for what the body in OpenAI's form has no field for."""
FORBIDDEN = (
    "chat_template",
    "echo",
    "ec_transfer_params",
    "kv_transfer_params",
    "priority",
    "prompt_logprobs",
    "return_prompt_text",
    "return_token_ids",
    "truncate_prompt_tokens",
    "truncation_side",
)
"""Fields of vLLM with which a client could change the prompt, read another client's, or stop the server for everybody:
``prompt_logprobs`` with an adapter ends vLLM 0.32 on CPU.
"""
INTERACTION = re.compile(r"chatcmpl-[0-9a-f]{32}")
SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON allows lone surrogates, which UTF-8 cannot encode."""

Headers = Mapping[str, str]
Body = dict[str, Any]
"""A request in OpenAI's form. It is forwarded as received, except for the fields that the gateway sets."""


class Refused(UserError):
    """A request that no version is called for; answered as OpenAI's services would."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    @property
    def headers(self) -> Headers:
        """``Retry-After`` where a later attempt may succeed."""
        return {"retry-after": "1"} if self.status in (429, 503) else {}

    def __reduce__(self) -> tuple[type, tuple[int, str, str]]:
        return type(self), (self.status, self.code, str(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """One request for a chat completion."""

    agent: str
    route: Route
    user_id: str
    """The user; without one ``conversation:<id>`` or ``request:<id>``."""
    assignment_key: str
    """What the split keeps on one side: the user, else the conversation, else the request."""
    query: str
    """The text of the last message of the user."""
    stream: bool
    wants_usage: bool
    """Whether the client wants the token counts at the end of a stream."""
    body: Body


def headers_of(scope: Scope) -> Headers:
    """The headers of a request, by lower-case name."""
    return {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]}


def read_request(
    data: bytes, headers: Headers, route_cache: RouteCache, key_agent: str, interaction: str
) -> ChatRequest:
    """Parse and validate a request for a chat completion. Raises ``Refused``.

    ``key_agent`` is the agent whose key was sent (``authorize``); empty where no key is required.
    """
    body = parse(data)
    _check_form(body)
    agent = _agent(body.get("model") or "", headers, key_agent)
    route = _route(route_cache, agent, body.get("model") or "")
    assignment_key, user_id = _user(body.get("user") or headers.get(USER, ""), headers, interaction)
    return ChatRequest(
        agent=agent,
        route=route,
        user_id=user_id,
        assignment_key=assignment_key,
        query=last_user_text(body["messages"]),
        stream=body.get("stream") is True,
        wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        body=body,
    )


def authorize(headers: Headers, route_cache: RouteCache) -> str:
    """The agent whose key was sent; empty where no key is required. Raises ``Refused``."""
    if route_cache.keys is None:
        return ""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    agent = route_cache.keys.agent_of(key.strip()) if scheme.lower() == "bearer" else None
    if agent is None:
        raise Refused(401, "invalid_api_key", "Send the agent's key: 'Authorization: Bearer fl-...'.")
    return agent


def parse(data: bytes) -> Body:
    """The body as a JSON object. Raises ``Refused``."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json", "The body is not a JSON object.")
    return body


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last message with the role ``user``; empty without one."""
    content = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), "")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _check_form(body: Body) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise Refused(400, "invalid_messages", "'messages' must be a list of messages, one at least.")
    for name in ("model", "user"):
        if not isinstance(body.get(name) or "", str):
            raise Refused(400, f"invalid_{name}", f"'{name}' must be a text.")
    for name in FORBIDDEN:
        if body.get(name) is not None:
            raise Refused(400, f"invalid_{name}", f"'{name}' is not taken here; leave it out.")
    if body.get("n") not in (None, 1) or body.get("n") is True:  # True equals 1
        raise Refused(400, "invalid_n", "'n' must be 1: an interaction has one answer.")
    if not isinstance(body.get("stream"), bool | None):
        raise Refused(400, "invalid_stream", "'stream' must be true or false.")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise Refused(400, "invalid_stream_options", "'stream_options' must be an object.")


def _agent(model: str, headers: Headers, key_agent: str) -> str:
    named = headers.get(AGENT, "") or (model if model in AGENTS else "")
    if key_agent and named not in ("", key_agent):
        raise Refused(403, "other_agent", f"This key is {key_agent}'s; it asks for no other agent.")
    agent = key_agent or named
    if not agent:
        raise Refused(400, "no_agent", f"Name the agent: the header {AGENT}, or 'model', is one of {_listed(AGENTS)}.")
    if agent not in AGENTS:
        raise Refused(404, "unknown_agent", f"There is no such agent; known: {_listed(AGENTS)}.")
    return agent


def _route(route_cache: RouteCache, agent: str, model: str) -> Route:
    if not route_cache.loaded:
        raise Refused(503, "not_ready", "The gateway has not read the ledger yet; try again in a second.")
    try:
        route = route_for_agent(route_cache.routes, agent)
    except UnknownName as error:
        raise Refused(404, "model_not_found", f"{error}.") from None
    if model and model not in (agent, route.model):
        known = _listed({agent, route.model})
        raise Refused(404, "model_not_found", f"There is no such model for {agent}; known: {known}.")
    return route


def _user(user: str, headers: Headers, interaction: str) -> tuple[str, str]:
    """The assignment key of the split, and the user id that is recorded."""
    for kind, name in (("user", user), ("conversation", headers.get(CONVERSATION, ""))):
        if len(name) > NAME_CHARACTERS - len("conversation:") or SURROGATE.search(name):
            raise Refused(400, f"invalid_{kind}", f"The name of the {kind} is too long or no valid text.")
        if name:
            return f"{kind}:{name}", name if kind == "user" else f"{kind}:{name}"
    request = headers.get(REQUEST, "")[:128] or interaction
    return f"request:{request}", f"request:{request}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
