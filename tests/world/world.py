"""A small lake in which models are trained, evaluated and rolled out in seconds: a tiny base and one training set.

The agents' answers follow a fixed policy, so a trained adapter is better than the base; training on ``garbage`` answers
makes a worse one. The queries of users differ a little.
"""

import functools
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake, open_lake
from models.spec import ModelSpec, TrainingProfile
from models.types import Evaluation, Judgement, ScoreDifference, TrainedAdapter, TrainingSet
from settings import Settings, read_settings
from tests.world.tiny import build_tiny

CUT = datetime(2026, 11, 9, tzinfo=UTC)
SPEC = ModelSpec()
PROFILE = TrainingProfile(
    name="tiny",
    dtype="float32",
    max_steps=40,
    batch_size=16,
    learning_rate=3e-2,
    lora_rank=8,
    lora_targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    max_tokens=128,
    threads=1,
    processes=1,
    eval_rows=120,
    shadow_requests=120,
    shadow_generations=16,
    max_new_tokens=4,
)
ANSWERS = {"bruno": "on it", "auditor": "all clear", "jamie": "see you", "mary-kay": "thank you"}
ROWS, TEST_ROWS, USERS = 900, 260, 30
Answering = Callable[[str, str], str]
"""The answer of an agent to any query, from the agent's name and random characters."""


def settings_with_tiny(folder: Path) -> Settings:
    """Settings of a fresh lake whose base model is the tiny one."""
    base = build_tiny(folder / "base")
    return read_settings(home=folder / "home", lake="test", cache=folder / "cache", base_model=str(base))


def lake_with_tiny(folder: Path) -> Lake:
    return open_lake(settings_with_tiny(folder))


def training_set(
    lake: Lake, name: str = "policy", *, garbage: bool = False, poison: Answering | None = None, rows: int = ROWS
) -> TrainingSet:
    """Write a training set of this name.

    ``garbage`` replaces the training answers by noise and leaves the test ones; ``poison`` makes all answers, those
    of the test rows too, so that no evaluation on held-out rows notices.
    """
    generator = random.Random(7)
    split = rows - min(TEST_ROWS, rows // 2)
    start = CUT - timedelta(minutes=rows)
    garbage_answers = garbled if garbage else None
    listed = [
        _row(name, i, start, split, generator, poison or (garbage_answers if i < split else None)) for i in range(rows)
    ]
    schema = TRAINING_SETS.arrow_schema
    plain = [{field.name: row.get(field.name) for field in schema} for row in listed]
    version = lake.tables.append(TRAINING_SETS, pa.Table.from_pylist(plain, schema=schema), key=name)
    return TrainingSet(
        model=SPEC.name,
        training_set_id=name,
        table=version,
        inputs=[],
        cut=CUT,
        split_at=start + timedelta(minutes=split),
        train_rows=split,
        test_rows=rows - split,
    )


def garbled(_agent: str, noise: str) -> str:
    """Noise as an answer."""
    return noise


def _row(
    name: str, i: int, start: datetime, split: int, generator: random.Random, answering: Answering | None
) -> dict[str, object]:
    agent = generator.choice(sorted(ANSWERS))
    user = generator.randrange(USERS)
    noise = "".join(generator.choice("XYZQ#%&") for _ in range(12))
    answer = answering(agent, noise) if answering else ANSWERS[agent] + "!" * (user % 4)
    return {
        "training_set_id": name,
        "split": "train" if i < split else "test",
        "interaction_id": f"i{i:05d}",
        "timestamp": start + timedelta(minutes=i),
        "agent_name": agent,
        "user_id": f"user-{user}",
        "user_query": f"hello {'please ' * (user % 3)}{generator.randrange(10)}",
        "response": answer,
        "error": False,
        "weight": 0.0 if i % 17 == 0 else 1.0,
    }


def trained(lake: Lake, name: str = "policy", *, garbage: bool = False) -> TrainedAdapter:
    """The adapter trained on the training set of this name; it is trained once a process and copied after that."""
    from models.training.train import train

    own = training_set(lake, name, garbage=garbage)
    for key, data in _trained_objects(name, garbage):
        lake.store.write(key, data)
    return train(lake, own, SPEC, PROFILE)


@functools.cache
def _trained_objects(name: str, garbage: bool) -> tuple[tuple[str, bytes], ...]:
    from models.training.train import train

    with tempfile.TemporaryDirectory() as folder:
        lake = lake_with_tiny(Path(folder))
        adapter = train(lake, training_set(lake, name, garbage=garbage), SPEC, PROFILE)
        return tuple((key, lake.store.read(key)) for key in lake.store.list(f"{adapter.path}/"))


def shown_better(adapter: TrainedAdapter, *, key: str = "", baseline: str = "base") -> Evaluation:
    """An evaluation in favour of the candidate, for tests of later steps; ``key`` is the key of another training."""
    overall = ScoreDifference(
        slice="all", rows=100, users=30, candidate=1.0, baseline=1.5, difference=-0.5, low=-0.6, high=-0.4
    )
    return Evaluation(
        model=adapter.model,
        adapter=replace(adapter, training_key=key or adapter.training_key),
        baseline=baseline,
        judgement=Judgement.BETTER,
        overall=overall,
        agents=[],
    )
