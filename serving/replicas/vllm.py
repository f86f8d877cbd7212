"""A vLLM replica as its clients need it: which adapters it serves, load one, unload one, what it would say next.

Adapters are named by the digest of their weights and never loaded twice under one name: vLLM's prefix cache tells
adapters apart by name alone, so other weights under a known name would meet the blocks of the first. To load what is
loaded and to unload what is not are therefore successes, and a name that stands for another folder is an error.

The endpoints are unauthenticated and vLLM's own: keep the port to those who may change what is served. The standard
library speaks to them, because a replica is a private address that no proxy of the environment should see.
"""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from errors import PeerError

QUICK_S = 5.0
"""Seconds that a question about state may take: vLLM answers it beside its engine."""
WORK_S = 120.0
"""Seconds that the engine may take over a load or a few hundred tokens, with other requests before it."""
TOP = 20
"""Next tokens asked for: what vLLM gives at most unless it is started otherwise (``--max-logprobs``)."""
SAID = 300
"""Characters kept of what a replica said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One model that a replica answers for."""

    name: str
    path: str
    """Folder of its weights, as the replica sees it."""
    parent: str = ""
    """The base that an adapter stands on; empty: it is a base itself."""


@dataclass(frozen=True, slots=True)
class NextTokens:
    """The likeliest next tokens at one place."""

    likeliest: Mapping[int, float]
    """Log-probability in nats by token id."""

    @property
    def floor(self) -> float:
        """No token that is not listed is likelier."""
        return min(self.likeliest.values())

    def of(self, token: int) -> float:
        """The token's log-probability; of one that is not listed, the floor."""
        return self.likeliest.get(token, self.floor)


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM server at ``address``, such as ``http://vllm-0.vllm:8000``. Holds no connection and no state."""

    address: str

    def healthy(self) -> bool:
        """Whether it answers and its engine is alive."""
        try:
            return self._ask("GET", "/health", timeout=QUICK_S).status == 200
        except PeerError:
            return False

    def models(self) -> dict[str, Served]:
        """What it serves, by name: the base and every loaded adapter.

        Raises:
            PeerError: it does not answer.
        """
        answer = self._ask("GET", "/v1/models", timeout=QUICK_S)
        cards = self._parsed(answer, "data")
        return {
            card["id"]: Served(name=card["id"], path=card["root"] or "", parent=card["parent"] or "") for card in cards
        }

    def adapters(self) -> dict[str, Served]:
        """The loaded adapters by name. Raises ``PeerError``."""
        return {name: served for name, served in self.models().items() if served.parent}

    def load(self, name: str, path: str) -> None:
        """Load the adapter in ``path`` under ``name``; a success if it is loaded from there already.

        Raises:
            PeerError: the replica refuses it, or knows the name from another folder.
        """
        answer = self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if answer.status == 200:
            return
        known = self.adapters().get(name)
        if known is None:
            raise self._refused(f"did not load {name}", answer)
        if known.path != path:
            raise PeerError(
                f"{self.address} serves {name} from {known.path}, not from {path}: restart it, because its prefix "
                "cache would mix the two"
            )

    def unload(self, name: str) -> None:
        """Forget the adapter; a success if it is not loaded. Requests under way end with it.

        Raises:
            PeerError: the replica refuses, and still serves it.
        """
        answer = self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if answer.status != 200 and name in self.adapters():
            raise self._refused(f"did not unload {name}", answer)

    def next_tokens(self, model: str, prompts: Sequence[str] | Sequence[list[int]]) -> list[NextTokens]:
        """How likely the likeliest next tokens of each prompt are, by one generated token each.

        Args:
            model: the base's or an adapter's name.
            prompts: texts, or token ids.

        Raises:
            PeerError: it does not serve the model, or another one answered.
        """
        asked = {
            "model": model,
            "prompt": list(prompts),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": TOP,
            "return_tokens_as_token_ids": True,
        }
        answer = self._ask("POST", "/v1/completions", asked)
        if answer.status != 200:
            raise self._refused(f"did not answer as {model}", answer)
        self._check_who_answered(answer, model)
        choices = sorted(self._parsed(answer, "choices"), key=lambda choice: int(choice["index"]))
        if len(choices) != len(prompts):
            raise PeerError(f"{self.address} gave {len(choices)} answers to {len(prompts)} prompts")
        return [self._likeliest(choice) for choice in choices]

    def _check_who_answered(self, answer: "_Answer", model: str) -> None:
        """The status says that something answered; only the name in the answer says what."""
        answered = self._parsed(answer, "model")
        if answered != model:
            raise PeerError(f"{self.address} was asked for {model} and answered as {answered}")

    def _likeliest(self, choice: Mapping[str, Any]) -> NextTokens:
        try:
            (listed,) = choice["logprobs"]["top_logprobs"]
            return NextTokens({int(name.removeprefix("token_id:")): float(score) for name, score in listed.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{self.address} gave no log-probabilities of a next token: {error!r}") from error

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, timeout: float = WORK_S
    ) -> "_Answer":
        """One request on a connection of its own. Raises ``PeerError`` where no answer comes."""
        place = urlsplit(self.address)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.netloc, timeout=timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return _Answer(status=reply.status, body=reply.read())
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(
                f"vLLM at {self.address} does not answer {path}: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()

    def _parsed(self, answer: "_Answer", name: str) -> Any:
        """A field of the answer."""
        try:
            return json.loads(answer.body)[name]
        except (ValueError, KeyError, TypeError) as error:
            raise self._refused(f"sent no {name!r}", answer) from error

    def _refused(self, what: str, answer: "_Answer") -> PeerError:
        """What went wrong, with vLLM's own words: they hold names and paths, never a prompt."""
        return PeerError(f"vLLM at {self.address} {what} (HTTP {answer.status}): {answer.said}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    body: bytes

    @property
    def said(self) -> str:
        """The message of an error, or the beginning of whatever came."""
        try:
            return str(json.loads(self.body)["error"]["message"])[:SAID]
        except (ValueError, KeyError, TypeError):
            return self.body[:SAID].decode(errors="replace")
