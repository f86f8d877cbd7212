"""Tuning as a user runs it: the retraining gets the parameters of the winner, and a second run does nothing."""

import json
from dataclasses import replace
from pathlib import Path

from lake.lake import Lake
from lake.sample.generate import write_sample
from models.tuning.plan import SearchSpace, TuningPlan
from models.types import Outcome
from tests.flyte.conftest import serialized, tasks_of
from tests.world.world import PROFILE

START = replace(PROFILE, max_steps=6, learning_rate=1e-4, eval_rows=60, shadow_requests=40, shadow_generations=4)
SPACE = SearchSpace(learning_rate_low=1e-4, learning_rate_high=5e-2, lora_ranks=[4, 8])
PLAN = TuningPlan(trials=3, parallel=2, startup=1, rungs=2, validation_rows=60)


def stored_objects(lake: Lake) -> dict[str, bytes]:
    """Every object but the decks, which each run writes again, and the leases, which it acquires and releases."""
    return {key: lake.store.read(key) for key in lake.store.list("") if not key.startswith(("reports/", "leases/"))}


def test_the_winners_parameters_reach_the_retraining_and_a_second_run_does_nothing(
    task_lake: Lake, tmp_path: Path
) -> None:
    from workflows.ingestion import ingestion
    from workflows.tuning import tuning

    write_sample(tmp_path / "logs", days=3)
    ingestion(folder=str(tmp_path / "logs"))
    first = tuning(profile=START, space=SPACE, plan=PLAN, by="ada")
    assert first.outcome is not Outcome.NOTHING_NEW
    [tuned] = task_lake.ledger.entries("models/agents", kind="tuned")
    assert tuned.payload["winner"] > 0
    [opened] = task_lake.ledger.entries("models/agents", kind="retraining_opened")
    assert opened.payload["cause"]["reason"] == tuned.payload["reason"]
    assert opened.payload["cause"]["by"] == "ada"
    [trained] = task_lake.ledger.entries("models/agents", kind="trained")
    used = json.loads(task_lake.store.read(f"{trained.payload['path']}/training.json"))["profile"]
    assert used["learning_rate"] == tuned.payload["parameters"]["learning_rate"] != START.learning_rate
    assert used["lora_rank"] == tuned.payload["parameters"]["lora_rank"]
    assert used["name"] == f"tiny+{tuned.payload['study'][:8]}.{tuned.payload['winner']}"
    assert trained.payload["training_set_id"] == tuned.payload["training_set_id"]

    before = stored_objects(task_lake)
    assert tuning(profile=START, space=SPACE, plan=PLAN, by="ada").outcome is Outcome.NOTHING_NEW
    assert stored_objects(task_lake) == before
    page = max((tmp_path / "home").rglob("reports/*.html"), key=lambda path: path.stat().st_mtime).read_text()
    assert "Tuning" in page
    assert "user-0" not in page


def test_every_task_of_a_search_is_retried_and_a_trial_has_one_a100() -> None:
    from tasks.tuning import try_parameters
    from workflows.tuning import tuning

    tasks = tasks_of(tuning)
    assert {"pin_examples", "open_study", "search"} <= set(tasks)
    assert all(tasks[name]["metadata"]["retries"]["retries"] == 3 for name in tasks)
    assert not any(tasks[name]["metadata"].get("discoverable") for name in ("pin_examples", "open_study", "search"))
    trial = serialized(try_parameters)["template"]
    assert trial["metadata"]["retries"]["retries"] == 3
    assert trial["container"]["image"] == "registry.example/fuelline-gpu:v1"
    [gpus] = [request["value"] for request in trial["container"]["resources"]["requests"] if request["name"] == "GPU"]
    assert gpus == "1"
    assert trial["extendedResources"]["gpuAccelerator"]["device"] == "nvidia-tesla-a100"


def test_a_search_may_take_longer_than_any_of_its_trials() -> None:
    from datetime import timedelta

    from tasks.tuning import try_parameters
    from workflows.tuning import search

    assert search.metadata.timeout > 5 * try_parameters.metadata.timeout > timedelta(0)
