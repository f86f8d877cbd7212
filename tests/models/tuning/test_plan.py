"""A search on a tiny real model: the same study after kills and double starts, and never a worse profile."""

import hashlib
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from errors import DataError, TrainingError, UserError
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake, open_lake
from lake.store.folder import FolderStore
from lake.store.ledger import Ledger
from models.training.checkpoints import Progress
from models.tuning.plan import Parameters, SearchSpace, Study, Trial, TrialState, Tuned, TuningPlan
from models.tuning.propose import propose
from models.tuning.select import close_study
from models.tuning.study import ledger_chain, open_study, read_trials, write_proposed
from models.tuning.trial import run_trial, trial_profile
from models.tuning.validation import split_train
from settings import Settings, read_settings
from tests.conftest import free_port
from tests.world.world import PROFILE, SPEC, lake_with_tiny, training_set

START = replace(PROFILE, max_steps=8, learning_rate=1e-4)
"""Learns almost nothing, so that others are shown better."""
SPACE = SearchSpace(learning_rate_low=1e-4, learning_rate_high=5e-2, lora_ranks=[4, 8], lengths=[0.5, 1.0, 2.0])
PLAN = TuningPlan(trials=4, parallel=2, startup=2, validation_rows=60)


class Killed(BaseException):
    """Simulates a process that ends in the middle."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_with_tiny(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Tuned]:
    """An undisturbed search, and its lake, which tests only read."""
    lake = lake_with_tiny(tmp_path_factory.mktemp("whole"))
    return lake, search(lake, opened(lake))


def opened(lake: Lake, *, plan: TuningPlan = PLAN, space: SearchSpace = SPACE, **changes: Any) -> Study:
    return open_study(lake, training_set(lake), SPEC, replace(START, **changes), space, plan)


def search(lake: Lake, study: Study, on_step: Callable[[Progress], None] | None = None) -> Tuned:
    for batch in range(study.plan.batches):
        for trial in propose(lake, study, batch):
            run_trial(lake, study, trial, on_step=on_step)
    return close_study(lake, study)


def outcome(tuned: Tuned) -> tuple[object, ...]:
    """Everything but the study, whose training set is another snapshot in another lake."""
    return tuned.study.study_id, tuned.trials, tuned.winner, tuned.profile, tuned.differences, tuned.reason


def objects(lake: Lake) -> dict[str, str]:
    return {key: hashlib.sha256(lake.store.read(key)).hexdigest() for key in lake.store.list("")}


def written(lake: Lake) -> set[str]:
    """What a search writes: ledger entries and scores, without tables, whose files have random names."""
    return {key for key in objects(lake) if not key.startswith("warehouse/")}


def same_place(settings: Settings) -> dict[str, str]:
    return {name: str(getattr(settings, name)) for name in ("home", "lake", "cache", "base_model")}


def run_elsewhere(lake_settings: dict[str, str], study: Study, trial: Trial) -> None:
    run_trial(open_lake(read_settings(**lake_settings)), study, trial)


def test_the_winner_is_better_on_validation_than_the_original_profile(whole: tuple[Lake, Tuned]) -> None:
    _, tuned = whole
    assert tuned.start.parameters == Parameters(learning_rate=1e-4, lora_rank=8, length=1.0)
    assert tuned.start.state is TrialState.COMPLETE
    assert tuned.winner.number > 0
    assert tuned.winner.loss == min(trial.loss for trial in tuned.trials if trial.state is TrialState.COMPLETE)
    [shown] = [difference for difference in tuned.differences if difference.slice == tuned.winner.name]
    assert shown.high < 0
    assert shown.candidate == pytest.approx(tuned.winner.loss)
    assert shown.baseline == pytest.approx(tuned.start.loss)
    assert tuned.profile.learning_rate == tuned.winner.parameters.learning_rate
    assert tuned.profile.lora_alpha / tuned.profile.lora_rank == START.lora_alpha / START.lora_rank
    assert tuned.profile.name == f"tiny+{tuned.study.name}.{tuned.winner.number}"


def test_if_no_trial_is_shown_better_the_profile_is_unchanged(lake: Lake) -> None:
    study = opened(lake, learning_rate=2e-2, plan=replace(PLAN, trials=3, parallel=3))
    for number in (1, 2):
        poor = Parameters(learning_rate=1e-4 * number, lora_rank=4, length=0.5)
        write_proposed(lake, study, Trial(number=number, parameters=poor))
    tuned = search(lake, study)
    assert tuned.winner == tuned.start
    assert tuned.profile == study.profile
    assert "none of 2 other trials was shown better than profile tiny" in tuned.reason


def test_a_search_killed_during_a_trial_continues_to_the_same_study(lake: Lake, whole: tuple[Lake, Tuned]) -> None:
    steps: list[int] = []

    def kill_twice(progress: Progress) -> None:
        steps.append(progress.step)
        if len(steps) in (11, 14):
            raise Killed

    study = opened(lake)
    for _ in range(2):
        with pytest.raises(Killed):
            search(lake, study, kill_twice)
    assert outcome(search(lake, study, kill_twice)) == outcome(whole[1])
    assert written(lake) == written(whole[0])


class Fragile(FolderStore):
    """A store whose process is killed after so many writes."""

    left = 0

    def write(self, key: str, data: bytes) -> None:
        self._count()
        super().write(key, data)

    def create(self, key: str, data: bytes) -> str:
        self._count()
        return super().create(key, data)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def test_a_trial_killed_after_every_second_write_ends_like_one_that_was_not(
    lake: Lake, whole: tuple[Lake, Tuned]
) -> None:
    study = opened(lake)
    [first, _] = propose(lake, study, 0)
    store = Fragile(Path(lake.store.address))
    for _ in range(12):
        store.left = 2
        try:
            ended = run_trial(replace(lake, store=store, ledger=Ledger(store)), study, first)
            break
        except Killed:
            continue
    assert store.left < 2
    assert ended == whole[1].start
    assert not list(lake.store.list(f"{study.folder}/checkpoints/"))


@pytest.mark.timeout(300)
def test_parallel_trials_one_of_them_doubled_give_the_same_as_sequential_ones(
    lake: Lake, whole: tuple[Lake, Tuned]
) -> None:
    study = opened(lake)
    first, second = propose(lake, study, 0)
    spawn = multiprocessing.get_context("spawn")
    work = (same_place(lake.settings), study, second)
    pods = [spawn.Process(target=run_elsewhere, args=work) for _ in range(2)]
    for pod in pods:
        pod.start()
    run_trial(lake, study, first)
    for pod in pods:
        pod.join()
    assert [pod.exitcode for pod in pods] == [0, 0]
    assert read_trials(lake, study) == whole[1].trials[:2]
    keys = [entry.key for entry in open_lake(lake.settings).ledger.entries(ledger_chain(study))]
    assert sorted(keys) == sorted(set(keys))
    assert {"ended:0", "ended:1"} <= set(keys)


def test_a_bad_trial_is_pruned_at_its_first_rung(lake: Lake) -> None:
    study = opened(lake, learning_rate=3e-2, max_steps=16, plan=replace(PLAN, startup=1, parallel=1))
    run_trial(lake, study, propose(lake, study, 0)[0])
    poor = Trial(number=1, parameters=Parameters(learning_rate=1e-4, lora_rank=8, length=1.0))
    ended = run_trial(lake, study, poor)
    assert ended.state is TrialState.PRUNED
    assert (ended.steps, len(ended.rungs)) == (4, 1)
    assert not list(lake.store.list(f"{study.folder}/checkpoints/"))


def test_a_trial_whose_loss_is_not_finite_ends_without_ending_the_search(lake: Lake) -> None:
    study = opened(lake, plan=replace(PLAN, trials=3), space=replace(SPACE, learning_rate_high=1e30))
    first, _ = propose(lake, study, 0)
    run_trial(lake, study, first)
    wild = Trial(number=1, parameters=Parameters(learning_rate=1e30, lora_rank=8, length=1.0))
    assert run_trial(lake, study, wild).state is TrialState.DIVERGED
    [third] = propose(lake, study, 1)
    assert third.number == 2


def test_a_profile_that_itself_diverges_is_an_error(lake: Lake) -> None:
    space = replace(SPACE, learning_rate_high=1e30)
    study = opened(lake, space=space, learning_rate=1e30, plan=replace(PLAN, parallel=1))
    run_trial(lake, study, propose(lake, study, 0)[0])
    with pytest.raises(TrainingError, match=r"trial 0, profile tiny itself, .* lower its learning_rate \(now 1e\+30\)"):
        propose(lake, study, 1)


def test_a_second_search_of_the_same_inputs_writes_nothing(whole: tuple[Lake, Tuned]) -> None:
    lake, tuned = whole
    before = objects(lake)
    again = open_lake(lake.settings)
    steps: list[Progress] = []
    assert search(again, opened(again), steps.append) == tuned
    assert steps == []
    assert objects(lake) == before


def test_more_trials_continue_where_fewer_ended(lake: Lake, whole: tuple[Lake, Tuned]) -> None:
    fewer = search(lake, opened(lake, plan=replace(PLAN, trials=3)))
    more = search(lake, opened(lake))
    assert more.study.study_id == fewer.study.study_id
    assert outcome(more) == outcome(whole[1])
    assert more.trials[:3] == fewer.trials


def test_rows_of_the_test_split_change_nothing(lake: Lake, whole: tuple[Lake, Tuned]) -> None:
    own = whole[1].study.training_set
    rows = whole[0].tables.read(own.table)
    other = pc.if_else(pc.equal(rows["split"], "test"), pa.scalar("XYZQ#%&"), rows["response"])
    assert other != rows["response"]
    rows = rows.set_column(rows.schema.get_field_index("response"), "response", other)
    spoilt = replace(own, table=lake.tables.append(TRAINING_SETS, rows, key="spoilt"))
    study = open_study(lake, spoilt, SPEC, START, SPACE, PLAN)
    ended = [run_trial(lake, study, trial) for trial in propose(lake, study, 0)]
    assert ended == whole[1].trials[:2]


def test_trials_are_evaluated_on_later_rows_than_they_train_on(whole: tuple[Lake, Tuned]) -> None:
    lake, tuned = whole
    study = replace(tuned.study, plan=replace(PLAN, validation_rows=0))
    learnt, judged = split_train(lake, study)
    assert pc.max(learnt["timestamp"]).as_py() < pc.min(judged["timestamp"]).as_py()
    assert set(learnt["split"].to_pylist() + judged["split"].to_pylist()) == {"train"}
    assert pc.min(judged["weight"]).as_py() > 0
    weightless = tuned.study.training_set.train_rows - learnt.num_rows - judged.num_rows
    assert 0 < weightless < 0.1 * tuned.study.training_set.train_rows
    _, fewer = split_train(lake, replace(study, plan=replace(PLAN, validation_rows=10)))
    assert fewer.num_rows == 10
    assert {fewer["interaction_id"][i].as_py() for i in (0, -1)} == {
        judged["interaction_id"][i].as_py() for i in (0, -1)
    }


def test_too_few_validation_rows_are_a_clear_error(lake: Lake) -> None:
    study = open_study(lake, training_set(lake, rows=2), SPEC, START, SPACE, PLAN)
    with pytest.raises(DataError, match="1 training rows leave 0 to train on and 0 of weight above 0 to validate on"):
        split_train(lake, study)


def test_the_trials_of_a_batch_differ_and_are_within_the_space(lake: Lake) -> None:
    proposed = propose(lake, opened(lake, plan=replace(PLAN, trials=16, parallel=16)), 0)
    assert [trial.number for trial in proposed] == list(range(16))
    assert len({trial.parameters for trial in proposed}) == 16
    assert all(1e-4 <= trial.parameters.learning_rate <= 5e-2 for trial in proposed)
    assert {trial.parameters.lora_rank for trial in proposed} == {4, 8}
    assert {trial.parameters.length for trial in proposed} == {0.5, 1.0, 2.0}


def test_a_batch_needs_the_end_of_the_one_before(lake: Lake) -> None:
    study = opened(lake)
    propose(lake, study, 0)
    with pytest.raises(DataError, match=r"trials \[0, 1\] have not ended; run them first"):
        propose(lake, study, 1)
    with pytest.raises(DataError, match=r"trials \[0, 1\] have not ended"):
        close_study(lake, study)


def test_a_trial_on_one_device_has_as_many_rows_a_step_as_the_training_on_several(lake: Lake) -> None:
    study = opened(lake, processes=2, gradient_accumulation=3, max_steps=0, epochs=4.0)
    profile = trial_profile(study, Trial(number=1, parameters=Parameters(learning_rate=1e-3, lora_rank=4, length=0.5)))
    assert (profile.processes, profile.gradient_accumulation) == (1, 6)
    assert (profile.epochs, profile.max_steps) == (2.0, 0)
    assert (profile.lora_rank, profile.lora_alpha) == (4, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, "profile tiny has learning_rate 0.5, outside the space's 0.0001 to 0.05"),
        ({"lora_rank": 16}, "profile tiny has lora_rank 16; add it to lora_ranks"),
    ],
)
def test_a_space_without_the_profile_itself_is_refused(lake: Lake, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(lake, **changes)


def test_lengths_must_contain_that_of_the_profile(lake: Lake) -> None:
    with pytest.raises(UserError, match=r"lengths \[2.0\] do not have 1.0"):
        opened(lake, space=replace(SPACE, lengths=[2.0]))


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate_low": 0.0},
        {"learning_rate_low": 1.0},
        {"lora_ranks": []},
        {"lora_ranks": [0]},
        {"lora_ranks": [8, 8]},
        {"lengths": [-1.0]},
    ],
)
def test_an_invalid_space_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SearchSpace(), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 0},
        {"parallel": 0},
        {"rungs": 0},
        {"keep_percent": 0.0},
        {"validation_share": 0.6},
        {"validation_rows": -1},
        {"confidence": 1.0},
    ],
)
def test_an_invalid_plan_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(TuningPlan(), **changes)


def test_the_models_history_has_the_origin_of_a_profile(whole: tuple[Lake, Tuned]) -> None:
    from reports.common.ledger_text import evidence

    lake, tuned = whole
    [entry] = lake.ledger.entries("models/agents", kind="tuned")
    assert evidence(entry) == tuned.reason
    assert entry.payload["study"] == tuned.study.study_id
    assert lake.ledger.verify(ledger_chain(tuned.study)) > 2 * PLAN.trials


def test_mlflow_shows_every_trial_under_its_study_once(whole: tuple[Lake, Tuned], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from models.retraining.mlflow import mirror_study, mirror_trial, mirror_tuned

    settings, tuned = read_settings(home=tmp_path, lake="test"), whole[1]
    pruned = replace(tuned.trials[3], state=TrialState.PRUNED, rungs=tuned.trials[3].rungs[:1])
    tuned = replace(tuned, trials=[*tuned.trials[:3], pruned])
    assert mirror_study(settings, tuned.study).holds
    for _ in range(2):
        assert mirror_trial(settings, tuned.study, tuned.trials[1]).holds
        assert mirror_tuned(settings, tuned).holds
    client = MlflowClient(tracking_uri=settings.tracking_address)
    runs = client.search_runs([client.get_experiment_by_name("agents").experiment_id])
    [parent] = [run for run in runs if "fuelline.trial" not in run.data.tags]
    assert parent.data.metrics["validation_loss"] == tuned.winner.loss
    assert parent.data.metrics["winner"] == tuned.winner.number
    shown = {run.data.tags["fuelline.trial"]: run for run in runs if run is not parent}
    assert set(shown) == {f"{tuned.study.study_id}/{number}" for number in range(4)}
    for trial in tuned.trials:
        run = shown[f"{tuned.study.study_id}/{trial.number}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["fuelline.state"] == trial.state.value
        assert run.info.status == ("KILLED" if trial is pruned else "FINISHED")
        assert run.data.params["learning_rate"] == str(trial.parameters.learning_rate)
        history = client.get_metric_history(run.info.run_id, "validation_loss")
        assert [(point.step, point.value) for point in history] == [(rung.step, rung.loss) for rung in trial.rungs]


def test_without_mlflow_there_is_a_warning_and_no_error(whole: tuple[Lake, Tuned], tmp_path: Path) -> None:
    from models.retraining.mlflow import mirror_study, mirror_tuned

    away = read_settings(home=tmp_path, lake="test", tracking=f"http://127.0.0.1:{free_port()}")
    assert not mirror_study(away, whole[1].study).holds
    assert not mirror_tuned(away, whole[1]).holds
