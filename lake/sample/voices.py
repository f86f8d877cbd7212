"""What users of the built-in sample ask, and how its four agents answer: the types, read from ``voices.yaml``."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("voices.yaml")


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing that users ask about; ``{s}`` stands for the subject."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One agent: its share of the traffic, its typical latency, and its house style of answers."""

    agent: str
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
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return Voices(
        agents=tuple(map(_voice, content["agents"])),
        evasions=tuple(content["evasions"]),
        outages=tuple(content["outages"]),
    )


def _voice(agent: dict[str, Any]) -> Voice:
    topics = tuple(Topic(questions=tuple(topic["questions"]), answer=topic["answer"]) for topic in agent["topics"])
    fields = {name: agent[name] for name in ("share", "latency_ms", "home", "frame")}
    return Voice(agent=agent["name"], subjects=tuple(agent["subjects"]), topics=topics, **fields)
