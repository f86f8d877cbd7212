"""Training on a tiny real model: the same bytes after any number of kills, and a loss on the responses only."""

import hashlib
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from errors import BaseModelError, DataError, TrainingError, UserError
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake, open_lake
from models.llm.base_model import load, resolve
from models.llm.distributed import ProcessGroup, repeatable
from models.llm.lora import adapter_weights, add_adapter
from models.llm.tokens import training_examples
from models.spec import ModelSpec, TrainingProfile, smoke
from models.training.checkpoints import Checkpoints, Progress
from models.training.loop import TrainingLoop
from models.training.train import read_manifest, train, training_key
from models.types import TrainedAdapter, TrainingSet
from settings import Settings, read_settings
from tests.world.tiny import build_tiny

START = datetime(2026, 10, 26, tzinfo=UTC)
SPEC = ModelSpec()
PROFILE = replace(
    smoke(),
    dtype="float32",
    batch_size=4,
    max_steps=6,
    epochs=3.0,
    threads=1,
    checkpoint_every=2,
    max_tokens=128,
    lora_dropout=0.1,
)

OneStep = Callable[..., tuple[dict[str, torch.Tensor], float]]


class Killed(BaseException):
    """Simulates a process that ends in the middle."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def settings(tmp_path: Path, tiny: Path) -> Settings:
    return read_settings(home=tmp_path / "home", lake="test", cache=tmp_path / "cache", base_model=str(tiny))


def stored_rows(lake: Lake, responses: list[str], weights: list[float] | None = None) -> TrainingSet:
    """A training set of these responses, as the features stage leaves it."""
    values = {
        "response": responses,
        "user_query": [f"question {i}" + "?" * (i % 7) for i in range(len(responses))],
        "weight": weights or [1.0] * len(responses),
        "interaction_id": [f"i{i:04d}" for i in range(len(responses))],
        "timestamp": [START + timedelta(minutes=i) for i in range(len(responses))],
        "agent_name": ["bruno"] * len(responses),
        "user_id": ["u"] * len(responses),
        "error": [False] * len(responses),
        "split": ["train"] * len(responses),
        "training_set_id": ["s"] * len(responses),
    }
    schema = TRAINING_SETS.arrow_schema
    columns = [pa.array(values.get(field.name, [None] * len(responses)), type=field.type) for field in schema]
    version = lake.tables.append(TRAINING_SETS, pa.Table.from_arrays(columns, schema=schema), key="training_set:s")
    return TrainingSet(
        model="agents",
        training_set_id="s",
        table=version,
        inputs=[],
        cut=START,
        split_at=START,
        train_rows=len(responses),
        test_rows=0,
    )


def some_rows(lake: Lake) -> TrainingSet:
    return stored_rows(lake, [f"answer {i}" * (1 + i % 3) for i in range(20)])


def files(lake: Lake, adapter: TrainedAdapter) -> dict[str, bytes]:
    return {key.rpartition("/")[2]: lake.store.read(key) for key in lake.store.list(f"{adapter.path}/")}


def killed_after(step: int) -> Callable[[Progress], None]:
    def hook(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return hook


def test_an_adapter_is_stored_with_its_manifest_and_nothing_else_remains(settings: Settings) -> None:
    lake = open_lake(settings)
    adapter = train(lake, some_rows(lake), SPEC, PROFILE)
    stored = files(lake, adapter)
    assert set(stored) == {"adapter_model.safetensors", "adapter_config.json", "probe.json", "training.json"}
    assert adapter.digest == hashlib.sha256(stored["adapter_model.safetensors"]).hexdigest()
    assert json.loads(stored["adapter_config.json"])["base_model_name_or_path"] == f"sha256:{adapter.base_digest}"
    manifest = read_manifest(lake.store, adapter.path)
    assert len(manifest["losses"]) == manifest["steps"] == adapter.steps == 6
    assert manifest["machine"]["threads"] == 1
    assert list(lake.store.list("ml/checkpoints/")) == []


def test_training_lowers_the_loss(settings: Settings) -> None:
    lake = open_lake(settings)
    longer = replace(PROFILE, max_steps=40, epochs=20.0, learning_rate=2e-2)
    losses = read_manifest(lake.store, train(lake, stored_rows(lake, ["yes"] * 20), SPEC, longer).path)["losses"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_a_finished_adapter_is_returned_at_once(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    first = train(lake, rows, SPEC, PROFILE)
    steps: list[Progress] = []
    assert train(lake, rows, SPEC, PROFILE, on_step=steps.append) == first
    assert steps == []


def test_every_step_is_reported_and_the_speed_is_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    lake = open_lake(settings)
    steps: list[Progress] = []
    with caplog.at_level(logging.INFO, "fuelline.training"):
        train(lake, some_rows(lake), SPEC, PROFILE, on_step=steps.append)
    assert [progress.step for progress in steps] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(loss) for loss in steps[-1].losses)
    [(loss, speed, left)] = re.findall(r"step 6/6  loss (\S+)  (\d+) tokens/s  (\d+) s left", caplog.text)
    assert float(loss) == pytest.approx(steps[-1].losses[-1], abs=1e-3)
    assert (int(speed) > 0, left) == (True, "0")


def test_the_learning_rate_rises_over_the_warm_up_and_falls_after_it(settings: Settings) -> None:
    lake, profile = open_lake(settings), replace(PROFILE, warmup_share=0.34)
    loop = new_loop(lake, ROWS, profile)
    rates: list[float] = []
    checkpoints = Checkpoints(store=lake.store, folder="ml/checkpoints/x", fingerprint={})
    loop.run(checkpoints, lambda _: rates.append(loop.optimizer.param_groups[0]["lr"]))
    assert rates[0] < rates[1] < PROFILE.learning_rate == rates[2]
    assert rates[-1] < rates[2]


def test_training_again_elsewhere_gives_the_same_bytes(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    assert files(lake, train(lake, rows, SPEC, PROFILE)) == files(
        lake, train(lake, rows, SPEC, PROFILE, root="ml/replays/1")
    )


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_stopped_training_continues_to_the_same_bytes(settings: Settings, step: int) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    whole = files(lake, train(lake, rows, SPEC, PROFILE, root="ml/whole"))
    with pytest.raises(Killed):
        train(lake, rows, SPEC, PROFILE, on_step=killed_after(step))
    steps: list[Progress] = []
    assert files(lake, train(lake, rows, SPEC, PROFILE, on_step=steps.append)) == whole
    assert steps[0].step == step // 2 * 2 + 1


SUBPROCESS = """
    import sys, time
    from datetime import datetime
    from lake.lake import open_lake
    from models.serialize import from_plain
    from models.spec import ModelSpec, TrainingProfile
    from models.training.train import train
    from models.types import TrainingSet
    from settings import read_settings
    import json

    inputs = json.loads(sys.argv[1])
    lake = open_lake(read_settings(**inputs["settings"]))

    def slowly(progress):
        print(progress.step, flush=True)
        time.sleep(0.5)

    rows = from_plain(TrainingSet, inputs["rows"])
    train(lake, rows, ModelSpec(), TrainingProfile(**inputs["profile"]), on_step=slowly)
"""


def start_training(settings: Settings, rows: TrainingSet, profile: TrainingProfile) -> "subprocess.Popen[str]":
    from models.serialize import to_plain

    lake_settings = {name: str(getattr(settings, name)) for name in ("home", "lake", "cache", "base_model")}
    inputs = json.dumps({"settings": lake_settings, "rows": to_plain(rows), "profile": asdict(profile)})
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SUBPROCESS), inputs]
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(300)
def test_a_training_killed_by_sigkill_continues_to_the_same_bytes(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    process = start_training(settings, rows, PROFILE)
    with process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "3":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    steps: list[Progress] = []
    resumed = train(lake, rows, SPEC, PROFILE, on_step=steps.append)
    assert steps[0].step == 3
    assert files(lake, resumed) == files(lake, train(lake, rows, SPEC, PROFILE, root="ml/whole"))


def test_the_key_covers_what_changes_the_weights_and_nothing_else(settings: Settings) -> None:
    lake = open_lake(settings)
    rows, base = some_rows(lake), resolve(settings)

    def key(spec: ModelSpec = SPEC, **changes: Any) -> str:
        return training_key(rows, base, spec, replace(PROFILE, **changes))

    assert key() == key(checkpoint_every=1, eval_rows=7, name="other") == key(spec=replace(SPEC, base="elsewhere"))
    others = [key(seed=1), key(learning_rate=0.5), key(threads=2), key(spec=replace(SPEC, features="agents_v1"))]
    assert len({key(), *others}) == 5


@pytest.fixture
def one_step(settings: Settings) -> OneStep:
    """Run one step of these rows; the adapter's weights after it and the step's loss."""

    def run(rows: list[dict[str, Any]], **changes: Any) -> tuple[dict[str, torch.Tensor], float]:
        profile = replace(PROFILE, max_steps=1, epochs=9.0, lora_dropout=0.0, warmup_share=0.0, **changes)
        lake = open_lake(settings)
        with repeatable(profile):
            loop = new_loop(lake, rows, profile)
            progress = loop.run(Checkpoints(store=lake.store, folder="ml/checkpoints/x", fingerprint={}))
        return adapter_weights(loop.model), progress.losses[0]

    return run


def new_loop(lake: Lake, rows: list[dict[str, Any]], profile: TrainingProfile) -> TrainingLoop:
    model, tokenizer = load(resolve(lake.settings))
    examples = training_examples(pa.Table.from_pylist(rows), tokenizer, 128)
    torch.manual_seed(0)
    return TrainingLoop(add_adapter(model, profile), examples, profile, ProcessGroup(), tokenizer.pad_token_id)


def row(query: str, response: str, weight: float = 1.0) -> dict[str, Any]:
    return {"agent_name": "bruno", "user_query": query, "response": response, "weight": weight}


ROWS = [row("q" * (i % 5), "answer" * (1 + i % 3), weight=0.25 + i % 2) for i in range(8)]


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_accumulated_gradients_equal_those_of_the_larger_batch(one_step: OneStep) -> None:
    whole, loss = one_step(ROWS, batch_size=8, gradient_accumulation=1)
    parts, loss_of_parts = one_step(ROWS, batch_size=2, gradient_accumulation=4)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert largest_difference(whole, parts) < 0.02 * PROFILE.learning_rate


def test_rows_of_weight_zero_change_nothing(one_step: OneStep) -> None:
    plain, loss = one_step(ROWS, batch_size=8)
    more, same_loss = one_step([*ROWS, row("loud", "WRONG" * 9, weight=0.0)], batch_size=8)
    assert same_loss == loss
    assert largest_difference(plain, more) == 0.0


def test_the_loss_is_the_weighted_mean_over_response_tokens_only(settings: Settings, one_step: OneStep) -> None:
    from models.llm.likelihood import examples_nll

    model, tokenizer = load(resolve(settings))
    examples = training_examples(pa.Table.from_pylist(ROWS), tokenizer, 128)
    scores = examples_nll(model, examples, tokenizer)
    expected = (scores.nll_sum * examples.weights).sum() / (scores.tokens * examples.weights).sum()
    assert one_step(ROWS, batch_size=8)[1] == pytest.approx(expected, rel=1e-5)


def test_rows_of_greater_weight_have_greater_gradients(one_step: OneStep) -> None:
    def loss(weight: float) -> float:
        return one_step([row("q", "aaaa", weight), row("q", "~~~~~~~~", 1.0)], batch_size=2)[1]

    losses = [loss(weight) for weight in (0.01, 1.0, 100.0)]
    assert losses == sorted(losses) or losses == sorted(losses, reverse=True)
    assert losses[0] != losses[2]


def test_a_loss_that_is_not_finite_is_an_error_with_its_step(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    with pytest.raises(TrainingError, match=r"(loss|gradient norm) is (nan|inf) at step \d of 6; lower learning_rate"):
        train(lake, rows, SPEC, replace(PROFILE, learning_rate=1e30, warmup_share=0.0))


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0, 0.0]])
def test_one_row_with_a_weight_is_too_few(settings: Settings, weights: list[float]) -> None:
    lake = open_lake(settings)
    rows = stored_rows(lake, ["yes"] * len(weights), weights)
    with pytest.raises(
        DataError, match=f"1 of {len(weights)} training rows have a weight above 0; training needs at least 2"
    ):
        train(lake, rows, SPEC, PROFILE)


def test_an_empty_training_set_is_a_clear_error(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = replace(some_rows(lake), training_set_id="nobody")
    with pytest.raises(DataError, match="0 of 0 training rows"):
        train(lake, rows, SPEC, PROFILE)


def test_targets_that_the_base_does_not_have_are_a_clear_error(settings: Settings) -> None:
    lake = open_lake(settings)
    with pytest.raises(BaseModelError, match=r"none of lora_targets \['c_attn'\]"):
        train(lake, some_rows(lake), SPEC, replace(PROFILE, lora_targets=["c_attn"]))


def test_a_prompt_version_of_another_release_is_refused(settings: Settings) -> None:
    lake = open_lake(settings)
    with pytest.raises(UserError, match="needs prompt version '0'"):
        train(lake, some_rows(lake), replace(SPEC, prompt_version="0"), PROFILE)


@pytest.mark.timeout(300)
def test_two_processes_train_one_adapter_and_resume_it(settings: Settings) -> None:
    lake = open_lake(settings)
    rows = some_rows(lake)
    two = replace(PROFILE, processes=2, batch_size=2, lora_dropout=0.0)
    together = read_manifest(lake.store, train(lake, rows, SPEC, two).path)
    alone = read_manifest(lake.store, train(lake, rows, SPEC, replace(two, processes=1, batch_size=4)).path)
    assert together["machine"]["processes"] == 2
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-3)
