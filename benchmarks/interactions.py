"""A log of interactions for the ingestion benchmark: templates and a seeded generator, always the same bytes.

Fourteen days in two clusters make 28 partitions. A line has 411 bytes on average. Three lines in a thousand are slower
than the contract allows and go to quarantine; five in ten thousand repeat the line before and are duplicates.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from lake.sample.voices import voices

VERSION = 1
"""Part of the name of the file; every change of the bytes needs a new one."""
FIRST = datetime(2026, 10, 5, tzinfo=UTC)
DAYS = 14
USERS = 5_000
LANDED = FIRST + timedelta(days=DAYS + 1)
"""The time at which the log arrives in the benchmarks: after its last line, independent of the clock of the machine."""
TOO_SLOW, REPEATED, FAILED = 0.003, 0.0005, 0.01
ASIDES = ("Ça va?", 'The manual says "restart first".', *[""] * 8)


def write(path: str, rows: int, scratch: str) -> None:
    """Write ``rows`` lines to ``path``."""
    with Path(path).open("w", encoding="ascii", buffering=1 << 20) as file:
        file.writelines(_lines(rows))


def _lines(rows: int) -> Iterator[str]:
    random = Random(f"{VERSION}:{rows}")
    dialogues = _dialogues(random)
    gap = timedelta(days=DAYS) / rows
    made, last = 0, ""
    while made < rows:
        if last and random.random() < REPEATED:
            yield last
        else:
            last = _line(random, FIRST + made * gap, dialogues[int(random.random() * len(dialogues))])
            yield last
        made += 1


def _dialogues(random: Random) -> list[str]:
    """The middle of some thousand lines: agent, question and answer."""
    parts = []
    for _ in range(4_096):
        voice = random.choice(voices().agents)
        topic, subject = random.choice(voice.topics), random.choice(voice.subjects)
        answer = f"{voice.answer(topic, subject)} {random.choice(ASIDES)}"
        texts = {"user_query": random.choice(topic.questions).format(s=subject), "response": answer.strip()}
        parts.append(f'"agent_name": "{voice.name}", {json.dumps(texts)[1:-1]}')
    return parts


def _line(random: Random, at: datetime, dialogues: str) -> str:
    draw = random.random
    failed = draw() < FAILED
    latency = int(draw() * 90) if failed else 100 + int(draw() * draw() * 29_900)
    if draw() < TOO_SLOW:
        latency = 30_001 + int(draw() * 60_000)
    moment = f"{at.isoformat(timespec='milliseconds')[:-6]}Z"
    feedback = ("null", "null", "1", "0")[int(draw() * 4)]
    return (
        f'{{"interaction_id": "{random.getrandbits(128):032x}", "timestamp": "{moment}", '
        f'"user_id": "user-{int(draw() * draw() * USERS):05d}", {dialogues}, "latency_ms": {latency}, '
        f'"tokens_used": {0 if failed else 5 + int(draw() * 400)}, "error": {"true" if failed else "false"}, '
        f'"feedback": {feedback}, "model_version": "agents@3f9c2a71", '
        f'"cluster": "{"studio" if draw() < 0.4 else "forge"}"}}\n'
    )
