"""What a client asks for, checked: who asks, which agent is to answer, and the request as it came.

A client names an agent or its model, never a version: which one answers is the ledger's business. A key stands for one
agent, so with keys in force an agent can name only itself.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from errors import UnknownName, UserError
from lake.contracts.agent_interactions import NAME_CHARACTERS
from lake.contracts.registries import AGENTS
from serving.gateway.route_cache import Following
from serving.routing.routes import Route, for_agent

BODY_BYTES = 1 << 20
"""The largest request that is read."""
AGENT, USER, CONVERSATION, REQUEST = "x-agent", "x-user", "x-conversation-id", "x-request-id"
"""Headers that say what the body of OpenAI's form has no place for."""
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
"""Fields of vLLM's own by which one client could undo the prompt, read another's, or stop the server for all:
``prompt_logprobs`` with an adapter ends vLLM 0.32 on CPU.
"""
INTERACTION = re.compile(r"chatcmpl-[0-9a-f]{32}")

Headers = Mapping[str, str]
Body = dict[str, Any]
"""A request in OpenAI's form, which passes through as it came but for what the gateway sets."""


class Refused(UserError):
    """A request that is sent to no version; told to the client as OpenAI's services would."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    @property
    def headers(self) -> Headers:
        """What the answer says beside its body: where it helps to try again, when."""
        return {"retry-after": "1"} if self.status in (429, 503) else {}

    def __reduce__(self) -> tuple[type, tuple[int, str, str]]:
        return type(self), (self.status, self.code, str(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request for a chat completion."""

    agent: str
    route: Route
    user_id: str
    """The user; where none is named, the conversation or the request stands for one."""
    who: str
    """Whom the split keeps on one side."""
    query: str
    """The last words of the user."""
    stream: bool
    wants_usage: bool
    """Whether the stream is to end with the numbers of tokens."""
    body: Body


def headers_of(scope: Scope) -> Headers:
    """The headers of a request, by their names in small letters."""
    return {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]}


def read_request(data: bytes, headers: Headers, following: Following, own: str, interaction: str) -> Asked:
    """Read a request for a chat completion; ``own`` is the agent whose key was shown (``authorize``).

    Raises:
        Refused: it is not one, or may not be answered.
    """
    body = parse(data)
    _check_form(body)
    agent = _agent(body.get("model") or "", headers, own)
    route = _route(following, agent)
    _check_model(body.get("model") or "", agent, route)
    who, user_id = _who(body.get("user") or headers.get(USER, ""), headers, interaction)
    return Asked(
        agent=agent,
        route=route,
        user_id=user_id,
        who=who,
        query=last_words(body["messages"]),
        stream=body.get("stream") is True,
        wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        body=body,
    )


def authorize(headers: Headers, following: Following) -> str:
    """The agent whose key was shown; empty where no key is asked for.

    Raises:
        Refused: there is no key, or it is nobody's.
    """
    if following.keys is None:
        return ""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    agent = following.keys.agent_of(key.strip()) if scheme.lower() == "bearer" else None
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


def last_words(messages: list[dict[str, Any]]) -> str:
    """The text of the last message that is the user's; empty without one."""
    content = next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), "")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _check_form(body: Body) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise Refused(400, "invalid_messages", "'messages' must be a list of messages, one at least.")
    for name in ("model", "user"):
        if not isinstance(body.get(name) or "", str):
            raise Refused(400, f"invalid_{name}", f"'{name}' must be a text.")
    for name in FORBIDDEN:
        if body.get(name) is not None:
            raise Refused(400, f"invalid_{name}", f"'{name}' is not taken here; leave it out.")
    if body.get("n") not in (None, 1) or body.get("n") is True:  # which equals 1
        raise Refused(400, "invalid_n", "'n' must be 1: an interaction has one answer.")
    if not isinstance(body.get("stream"), bool | None):
        raise Refused(400, "invalid_stream", "'stream' must be true or false.")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise Refused(400, "invalid_stream_options", "'stream_options' must be an object.")


def _agent(model: str, headers: Headers, own: str) -> str:
    named = headers.get(AGENT, "") or (model if model in AGENTS else "")
    if own and named not in ("", own):
        raise Refused(403, "other_agent", f"This key is {own}'s; it asks for no other agent.")
    agent = own or named
    if not agent:
        raise Refused(400, "no_agent", f"Name the agent: the header {AGENT}, or 'model', is one of {_known(AGENTS)}.")
    if agent not in AGENTS:
        raise Refused(404, "unknown_agent", f"There is no such agent; known: {_known(AGENTS)}.")
    return agent


def _route(following: Following, agent: str) -> Route:
    if not following.known:
        raise Refused(503, "not_ready", "The gateway has not read the ledger yet; try again in a second.")
    try:
        return for_agent(following.routes, agent)
    except UnknownName as error:
        raise Refused(404, "model_not_found", f"{error}.") from None


def _check_model(model: str, agent: str, route: Route) -> None:
    known = dict.fromkeys((agent, route.model))
    if model and model not in known:
        raise Refused(404, "model_not_found", f"There is no such model for {agent}; known: {_known(known)}.")


def _who(user: str, headers: Headers, interaction: str) -> tuple[str, str]:
    """Whom the split keeps on one side, and as whom it is recorded."""
    for kind, name in (("user", user), ("conversation", headers.get(CONVERSATION, ""))):
        if len(name) > NAME_CHARACTERS - len("conversation:") or not _is_plain(name):
            raise Refused(400, f"invalid_{kind}", f"The name of the {kind} is too long or no valid text.")
        if name:
            return f"{kind}:{name}", name if kind == "user" else f"{kind}:{name}"
    request = headers.get(REQUEST, "")[:128] or interaction
    return f"request:{request}", f"request:{request}"


def _is_plain(name: str) -> bool:
    """Whether a text can be written as UTF-8 at all: JSON can spell some that cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _known(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names))
