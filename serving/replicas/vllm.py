"""Client of one vLLM replica: which adapters it serves, load one, unload one, and its next-token log-probabilities.

Adapters are named by the digest of their weights and never loaded twice under one name: vLLM's prefix cache identifies
adapters by name alone, so other weights under a known name would reuse cached blocks of the first. Therefore loading a
loaded adapter and unloading a missing one succeed, and a name that is loaded from another folder is an error.

vLLM's endpoints are unauthenticated: give access to the port only to processes that may change what is served. Proxies
of the environment are ignored, because a replica has a private address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from errors import PeerError

STATE_TIMEOUT_S = 5.0
"""For requests that vLLM answers without its engine."""
ENGINE_TIMEOUT_S = 120.0
"""For loading an adapter or generating a few hundred tokens, with other requests queued before."""
TOP_TOKENS = 20
"""Next tokens per prompt: vLLM's limit unless it is started with another (``--max-logprobs``)."""
ERROR_CHARACTERS = 300
"""Length to which a replica's error message is cut."""


@dataclass(frozen=True, slots=True)
class NextTokens:
    """The most likely next tokens after one prompt."""

    likeliest: Mapping[int, float]
    """Log-probability in nats by token id."""

    @property
    def floor(self) -> float:
        """Upper bound of the log-probability of every token that is not listed."""
        return min(self.likeliest.values())

    def of(self, token: int) -> float:
        """The token's log-probability; the floor if it is not listed."""
        return self.likeliest.get(token, self.floor)


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM server at ``address``, such as ``http://vllm-0.vllm:8000``. Holds no connection and no state."""

    address: str

    def adapters(self) -> dict[str, str]:
        """The loaded adapters: by name the folder of the weights, as the replica sees it. Raises ``PeerError``."""
        cards = self._field(self._request("GET", "/v1/models", timeout=STATE_TIMEOUT_S), "data")
        return {card["id"]: card["root"] or "" for card in cards if card["parent"]}

    def load(self, name: str, path: str) -> None:
        """Load the adapter in ``path`` under ``name``; succeeds if it is already loaded from there.

        Raises ``PeerError`` where the replica refuses it, or has the name loaded from another folder.
        """
        response = self._request("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if response.status == 200:
            return
        loaded = self.adapters().get(name)
        if loaded is None:
            raise self._refused(f"did not load {name}", response)
        if loaded != path:
            raise PeerError(
                f"{self.address} serves {name} from {loaded}, not from {path}: restart it, because its prefix "
                "cache would mix the two"
            )

    def unload(self, name: str) -> None:
        """Unload the adapter; succeeds if it is not loaded. Requests in progress with it end.

        Raises ``PeerError`` where the replica refuses, and still serves it.
        """
        response = self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if response.status != 200 and name in self.adapters():
            raise self._refused(f"did not unload {name}", response)

    def next_tokens(self, model: str, prompts: Sequence[str] | Sequence[list[int]]) -> list[NextTokens]:
        """The most likely next tokens of each prompt (a text, or token ids), from generating one token each.

        Raises ``PeerError`` where the replica does not serve the model (the base or an adapter), or another answered.
        """
        body = {
            "model": model,
            "prompt": list(prompts),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": TOP_TOKENS,
            "return_tokens_as_token_ids": True,
        }
        response = self._request("POST", "/v1/completions", body)
        if response.status != 200:
            raise self._refused(f"did not answer as {model}", response)
        answered = self._field(response, "model")
        if answered != model:  # status 200 says only that some model answered
            raise PeerError(f"{self.address} answered as {answered} to a request for {model}")
        choices = sorted(self._field(response, "choices"), key=lambda choice: int(choice["index"]))
        if len(choices) != len(prompts):
            raise PeerError(f"{self.address} gave {len(choices)} answers to {len(prompts)} prompts")
        return [self._next_tokens(choice) for choice in choices]

    def _next_tokens(self, choice: Mapping[str, Any]) -> NextTokens:
        try:
            (listed,) = choice["logprobs"]["top_logprobs"]
            return NextTokens({int(name.removeprefix("token_id:")): float(score) for name, score in listed.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{self.address} gave no log-probabilities of a next token: {error!r}") from error

    def _request(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, timeout: float = ENGINE_TIMEOUT_S
    ) -> urllib3.BaseHTTPResponse:
        """Send one request on a connection of its own, once. Raises ``PeerError`` without an answer."""
        try:
            with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
                return pool.request(method, f"{self.address}{path}", json=body, redirect=False)
        except HTTPError as error:
            raise PeerError(f"vLLM at {self.address} does not answer {path}: {error}") from error

    def _field(self, response: urllib3.BaseHTTPResponse, name: str) -> Any:
        """A field of the response's JSON."""
        try:
            return response.json()[name]
        except (ValueError, KeyError, TypeError) as error:
            raise self._refused(f"sent no {name!r}", response) from error

    def _refused(self, what: str, response: urllib3.BaseHTTPResponse) -> PeerError:
        """The error with vLLM's own message, which holds names and paths, never a prompt."""
        try:
            message = str(response.json()["error"]["message"])[:ERROR_CHARACTERS]
        except (ValueError, KeyError, TypeError):
            message = response.data[:ERROR_CHARACTERS].decode(errors="replace")
        return PeerError(f"vLLM at {self.address} {what} (HTTP {response.status}): {message}")
