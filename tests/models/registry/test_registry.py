"""The registry under crashes, races and tampering: one number per version, one version per training, all or nothing."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from errors import TamperedArtifact, UnknownName, UserError
from lake.contracts.training_sets import TRAINING_SETS
from lake.lake import Lake, open_lake
from lake.store.ledger import Ledger
from models.registry.kinds import model_chain
from models.registry.manifest import render_card
from models.registry.registry import fetch_adapter, find_version, load_version, production, register
from models.types import Evaluation, Judgement, ModelVersion
from settings import Settings
from tests.world.world import CUT, PROFILE, SPEC, settings_with_tiny, shown_better, trained

FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "manifest.json",
    "README.md",
    "probe.json",
    "training.json",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_tiny(tmp_path)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings)


@pytest.fixture
def evaluation(lake: Lake) -> Evaluation:
    return shown_better(trained(lake))


def registered(lake: Lake) -> list[dict[str, Any]]:
    return [entry.payload for entry in lake.ledger.entries(model_chain(SPEC.name), kind="registered")]


def everything(lake: Lake) -> dict[str, bytes]:
    """Every object that a registration may touch."""
    return {key: lake.store.read(key) for top in ("ml/", "ledger/") for key in lake.store.list(top)}


class Killed(BaseException):
    """As SIGKILL: no handler of the code under test sees it."""


class DyingStore:
    """The store of a process that is killed just before its nth write from now; reads never kill it."""

    def __init__(self, store: Any, writes: int) -> None:
        self.store, self.left = store, writes

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "create", "replace", "upload"):
            if self.left == 0:
                raise Killed
            self.left -= 1
        return getattr(self.store, name)


def test_a_version_is_a_folder_with_a_manifest_a_tag_and_a_ledger_entry(lake: Lake, evaluation: Evaluation) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    adapter = evaluation.adapter
    assert version == ModelVersion(model="agents", version=1, path="ml/models/agents/v1", digest=adapter.digest)
    assert sorted(lake.store.list(f"{version.path}/")) == sorted(f"{version.path}/{name}" for name in FILES)
    manifest = load_version(lake, "agents@v1")
    assert (manifest.version, manifest.spec, manifest.profile) == (version, SPEC, PROFILE)
    assert manifest.evaluation == evaluation
    assert {"torch", "threads", "device"} <= set(manifest.machine)
    tags = lake.tables.load(TRAINING_SETS.name).refs()
    assert tags["agents-v1"].snapshot_id == adapter.training_set.table.snapshot_id
    assert registered(lake)[0]["inputs"] == [str(adapter.training_set.table)]
    assert registered(lake)[0]["cut"] == CUT.isoformat()


def test_registering_again_changes_nothing(lake: Lake, evaluation: Evaluation) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    before = everything(lake)
    assert register(lake, evaluation, SPEC, PROFILE) == version
    assert everything(lake) == before


@pytest.mark.parametrize("judgement", [judgement for judgement in Judgement if judgement is not Judgement.BETTER])
def test_only_a_candidate_shown_better_is_registered(lake: Lake, evaluation: Evaluation, judgement: Judgement) -> None:
    with pytest.raises(UserError, match=judgement.value):
        register(lake, replace(evaluation, judgement=judgement), SPEC, PROFILE)
    assert registered(lake) == []


def test_a_registration_killed_before_any_of_its_writes_is_completed_by_the_next_run(
    lake: Lake, evaluation: Evaluation
) -> None:
    """A registration is killed before each of its writes in turn."""
    points = 0
    while True:
        candidate = shown_better(evaluation.adapter, key=f"training-{points}")
        store: Any = DyingStore(lake.store, points)
        dying = replace(lake, store=store, ledger=Ledger(store))
        try:
            register(dying, candidate, SPEC, PROFILE)
        except Killed:
            name = f"agents@v{points + 1}"
            with pytest.raises(UnknownName):
                load_version(lake, name)
            assert register(lake, candidate, SPEC, PROFILE).name == name
            assert load_version(lake, name).evaluation == candidate
            points += 1
        else:
            break
    assert points == 8  # the claim, six files, the ledger's entry
    assert [payload["version"] for payload in registered(lake)] == list(range(1, points + 2))


def test_a_claim_whose_reply_was_lost_is_still_its_own(lake: Lake, evaluation: Evaluation) -> None:
    claim = json.dumps({"training_key": evaluation.adapter.training_key}).encode()
    lake.store.create("ml/models/agents/claims/000001.json", claim)
    assert register(lake, evaluation, SPEC, PROFILE).version == 1


def _register_all(settings: Settings, candidates: list[Evaluation], start: Any) -> None:
    lake = open_lake(settings)
    start.wait(60)
    for candidate in candidates:
        register(lake, candidate, SPEC, PROFILE)


def test_four_processes_at_once_give_each_training_one_number(
    settings: Settings, lake: Lake, evaluation: Evaluation
) -> None:
    keys = ["a", "b", "c", "d"]
    jobs = [[shown_better(evaluation.adapter, key=key) for key in keys[i:] + keys[:i]] for i in range(4)]
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    processes = [spawn.Process(target=_register_all, args=(settings, job, start)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert sorted(payload["version"] for payload in registered(lake)) == [1, 2, 3, 4]
    assert sorted(payload["training_key"] for payload in registered(lake)) == keys
    for payload in registered(lake):
        manifest = load_version(lake, f"agents@v{payload['version']}")
        assert manifest.evaluation.adapter.training_key == payload["training_key"]


@pytest.mark.parametrize("file", FILES)
def test_one_changed_byte_in_any_file_is_refused(lake: Lake, evaluation: Evaluation, file: str) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    data = bytearray(lake.store.read(f"{version.path}/{file}"))
    data[len(data) // 2] ^= 1
    lake.store.write(f"{version.path}/{file}", bytes(data))
    with pytest.raises(TamperedArtifact, match=file):
        load_version(lake, "agents@v1")


def test_a_missing_file_is_named(lake: Lake, evaluation: Evaluation, tmp_path: Path) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    lake.store.delete(f"{version.path}/adapter_config.json")
    with pytest.raises(TamperedArtifact, match=r"adapter_config.* is missing"):
        fetch_adapter(lake, version, tmp_path / "adapter")


def test_weights_that_were_changed_are_not_registered(lake: Lake, evaluation: Evaluation) -> None:
    lake.store.write(f"{evaluation.adapter.path}/adapter_model.safetensors", b"other weights")
    with pytest.raises(TamperedArtifact, match="not what was trained"):
        register(lake, evaluation, SPEC, PROFILE)


def test_a_fetched_adapter_is_a_folder_that_peft_reads(lake: Lake, evaluation: Evaluation, tmp_path: Path) -> None:
    from peft import PeftConfig

    folder = fetch_adapter(lake, register(lake, evaluation, SPEC, PROFILE), tmp_path / "adapter")
    assert PeftConfig.from_pretrained(str(folder)).r == PROFILE.lora_rank


@pytest.mark.parametrize(("name", "hint"), [("agents@v2", "did you mean 'agents@v1'"), ("agnts", "agents")])
def test_a_typo_in_a_name_gets_a_suggestion(lake: Lake, evaluation: Evaluation, name: str, hint: str) -> None:
    register(lake, evaluation, SPEC, PROFILE)
    with pytest.raises(UnknownName, match=hint):
        find_version(lake.ledger, name)


def test_production_is_what_was_promoted_last_as_of_a_time(lake: Lake, evaluation: Evaluation) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    before = lake.ledger.entries(model_chain(SPEC.name))[-1].time
    lake.ledger.append(model_chain(SPEC.name), "promoted", "rollout", {"version": 1, "baseline": "base"})
    assert production(lake.ledger, SPEC.name) == version
    assert production(lake.ledger, SPEC.name, at=before) is None


def test_the_card_shows_the_scores_and_the_lineage(lake: Lake, evaluation: Evaluation) -> None:
    version = register(lake, evaluation, SPEC, PROFILE)
    card = lake.store.read(f"{version.path}/README.md").decode()
    assert card == render_card(load_version(lake, version.name))
    assert "| all | 100 | 30 | 1.0000 | 1.5000 | -0.5000 | -0.6000 .. -0.4000 |" in card
    assert str(evaluation.adapter.training_set.table) in card


def test_a_version_on_s3_has_the_same_bytes_as_in_a_folder(
    s3_settings: Settings, lake: Lake, evaluation: Evaluation
) -> None:
    """The same registration on S3: conditional claims there, and the same bytes."""
    on_s3 = open_lake(s3_settings)
    for key in lake.store.list(f"{evaluation.adapter.path}/"):
        on_s3.store.write(key, lake.store.read(key))
    untagged = replace(on_s3, tables=lake.tables)
    version = register(untagged, evaluation, SPEC, PROFILE)
    ours = register(lake, evaluation, SPEC, PROFILE)
    assert version == ours
    assert on_s3.store.read(f"{version.path}/manifest.json") == lake.store.read(f"{ours.path}/manifest.json")
