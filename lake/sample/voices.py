"""What users of the built-in sample ask, and how its four agents answer: the types, read from ``voices.yaml``."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing that users ask about; ``{s}`` stands for the subject."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One agent: its share of the traffic, its typical latency, and its house style of answers."""

    name: str
    share: float
    """Share of all interactions, 0..1."""
    latency_ms: int
    """Median latency, approximate."""
    home: str
    """The cluster that answers four of five of its requests."""
    frame: str
    """The agent's form of answer around the ``{answer}`` of the topic."""
    subjects: tuple[str, ...]
    topics: tuple[Topic, ...]

    def answer(self, topic: Topic, subject: str) -> str:
        """The answer on policy: a function of agent, topic and subject alone."""
        return self.frame.format(s=subject, answer=topic.answer.format(s=subject))


@dataclass(frozen=True, kw_only=True)
class Voices:
    """All texts of the sample."""

    agents: tuple[Voice, ...]
    evasions: tuple[str, ...]
    """Answers off policy, the same for all agents."""
    outages: tuple[str, ...]
    """Responses of calls that failed."""


@functools.cache
def voices() -> Voices:
    """The texts of the sample, read once from the package's YAML file."""
    content = Path(__file__).with_name("voices.yaml").read_text(encoding="utf-8")
    return TypeAdapter(Voices).validate_python(yaml.safe_load(content))
