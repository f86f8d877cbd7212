"""Users who ask a gateway and rate what they get: they like what begins as one of the agents' answers does."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from models.types import ModelVersion
from tests.world.world import ANSWERS

USERS, AT_ONCE = 80, 4
"""So many users that a candidate never has too few: with 40 users and a share of 20%, three or fewer meet it in 3% of
the rollouts, and no number of their answers shows harm."""
PATIENCE = aiohttp.ClientTimeout(total=40)


@dataclass(frozen=True, kw_only=True, slots=True)
class Got:
    """One request that was answered in full."""

    user: str
    interaction: str
    version: str
    """The name by which the answer itself says who gave it."""
    liked: bool
    sent_at: float
    """When, in seconds of the monotonic clock."""
    seconds: float
    """From then to the whole answer."""


@dataclass(kw_only=True)
class People:
    """They ask without end, a few at once, each at one gateway after the other; a context in which they do."""

    gateways: Sequence[str]
    """Addresses."""
    tokens: int = 6
    """What an answer may have at most; one in the agents' way needs four."""
    got: list[Got] = field(default_factory=list)
    failed: int = 0
    """Requests that came back with an error, or not at all."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "People":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_on()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def of(self, version: ModelVersion) -> list[Got]:
        """What this version has answered."""
        return [answer for answer in self.got if answer.version == version.adapter_name]

    def since(self, sent_at: float) -> list[Got]:
        """What was asked at this instant or later."""
        return [answer for answer in self.got if answer.sent_at >= sent_at]

    @property
    def are_asking(self) -> bool:
        """Whether they still ask; what ends them otherwise is a fault of theirs."""
        return self._thread is not None and self._thread.is_alive()

    async def _ask_on(self) -> None:
        numbers = itertools.count()
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            await asyncio.gather(*(self._ask_in_turn(session, numbers) for _ in range(AT_ONCE)))

    async def _ask_in_turn(self, session: aiohttp.ClientSession, numbers: "itertools.count[int]") -> None:
        while not self._stop.is_set():
            number = next(numbers)
            try:
                await self._ask(session, number, self.gateways[number % len(self.gateways)])
            except (aiohttp.ClientError, TimeoutError):
                self.failed += 1
                await asyncio.sleep(0.2)

    async def _ask(self, session: aiohttp.ClientSession, number: int, gateway: str) -> None:
        chance = random.Random(number)
        user, agent = f"user-{chance.randrange(USERS)}", chance.choice(sorted(ANSWERS))
        request = {
            "model": agent,
            "user": user,
            "messages": [{"role": "user", "content": f"hello {'please ' * (number % 3)}{number % 10}"}],
            "max_tokens": self.tokens,
            "temperature": 0,
        }
        began = time.monotonic()
        async with session.post(f"{gateway}/v1/chat/completions", json=request) as response:
            if response.status != 200:
                self.failed += 1
                await asyncio.sleep(0.2)
                return
            body = await response.json()
            interaction = response.headers["x-interaction-id"]
        seconds = time.monotonic() - began
        text = body["choices"][0]["message"]["content"] or ""
        liked = text.lstrip().startswith(tuple(ANSWERS.values()))
        answer = Got(
            user=user, interaction=interaction, version=body["model"], liked=liked, sent_at=began, seconds=seconds
        )
        self.got.append(answer)
        rated = {"interaction_id": interaction, "rating": "up" if liked else "down"}
        async with session.post(f"{gateway}/v1/feedback", json=rated) as response:
            response.raise_for_status()
