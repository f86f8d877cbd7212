"""A route as an InferenceModelRewrite: valid by the resource's definition, weighted as the ledger says."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jsonschema
import pytest
import yaml

from lake.lake import Lake, open_lake
from models.registry.state import chain
from models.types import ModelVersion
from serving.inference_extension import API_VERSION, main, render
from serving.routing.routes import Route
from settings import Settings

NAME = {"type": "string", "minLength": 1, "maxLength": 253}


def closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


MODEL = closed(("value",), type={"enum": ["Exact"]}, value={"type": "string", "minLength": 1})
TARGET = closed(
    ("modelRewrite",),
    modelRewrite={"type": "string"},
    weight={"type": "integer", "minimum": 1, "maximum": 1_000_000},
)
RULE = closed(
    (),
    matches={"type": "array", "items": closed(("model",), model=MODEL)},
    targets={"type": "array", "minItems": 1, "items": TARGET},
)
REWRITE = closed(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "inference.networking.x-k8s.io/v1alpha2"},
    kind={"const": "InferenceModelRewrite"},
    metadata=closed(
        ("name",),
        name=NAME | {"pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        labels={"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        annotations={"type": "object", "additionalProperties": {"type": "string"}},
    ),
    spec=closed(
        ("poolRef", "rules"),
        poolRef=closed(("name",), group={"type": "string"}, kind={"const": "InferencePool"}, name=NAME),
        rules={"type": "array", "items": RULE},
    ),
)
"""What the definition of release 1.4 demands, and closed besides: an API server drops what it does not know."""

STABLE = ModelVersion(model="agents", version=3, path="ml/models/agents/v3", digest="3f9c2a71" * 8)
CANDIDATE = ModelVersion(model="agents", version=4, path="ml/models/agents/v4", digest="8a10bc55" * 8)


def targets(route: Route) -> list[dict[str, Any]]:
    rendered = yaml.safe_load(render(route, "vllm"))
    jsonschema.validate(rendered, REWRITE)
    found: list[dict[str, Any]] = rendered["spec"]["rules"][0]["targets"]
    return found


def canary(share: float) -> Route:
    return Route(model="agents", stable=STABLE, candidate=CANDIDATE, share=share, rollout="rollout:agents@v4:agents@v3")


def test_without_a_rollout_everybody_meets_the_version_in_production() -> None:
    assert targets(Route(model="agents", stable=STABLE)) == [{"modelRewrite": "agents@3f9c2a71"}]


def test_where_nothing_was_promoted_the_base_model_answers() -> None:
    assert targets(Route(model="agents")) == [{"modelRewrite": "base"}]


def test_a_canary_is_weighted_by_its_share() -> None:
    assert targets(canary(0.1)) == [
        {"modelRewrite": "agents@3f9c2a71", "weight": 9000},
        {"modelRewrite": "agents@8a10bc55", "weight": 1000},
    ]


def test_a_roll_back_leaves_the_candidate_no_target() -> None:
    assert targets(canary(0.1))[1]["modelRewrite"] == "agents@8a10bc55"
    assert [one["modelRewrite"] for one in targets(Route(model="agents", stable=STABLE))] == ["agents@3f9c2a71"]


@hypothesis.given(st.floats(0, 1))
def test_every_share_gives_a_valid_rewrite_with_weights_for_all_or_none(share: float) -> None:
    found = targets(canary(share))
    assert len(found) == 1 or sum(one["weight"] for one in found) == 10_000


def test_the_rewrite_says_whose_rollout_it_is() -> None:
    rendered = yaml.safe_load(render(canary(0.5), "vllm"))
    assert rendered["metadata"]["annotations"] == {"fuelline.internal/rollout": "rollout:agents@v4:agents@v3"}
    assert rendered["spec"]["poolRef"]["name"] == "vllm"
    assert rendered["spec"]["rules"][0]["matches"] == [{"model": {"type": "Exact", "value": "agents"}}]


@pytest.fixture
def lake_of_the_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr("lake.lake.process_settings", lambda: settings)
    return open_lake(settings)


def test_the_command_prints_the_route_of_the_ledger(
    lake_of_the_process: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake_of_the_process.ledger.append(chain("agents"), "retraining_opened", "first", {})
    assert main(["agents", "--pool", "vllm"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    jsonschema.validate(printed, REWRITE)
    assert printed["apiVersion"] == API_VERSION


def test_the_command_knows_the_models_of_the_ledger_and_no_others(
    lake_of_the_process: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake_of_the_process.ledger.append(chain("agents"), "retraining_opened", "first", {})
    with pytest.raises(SystemExit):
        main(["agent", "--pool", "vllm"])
    assert "did you mean 'agents'?" in capsys.readouterr().err
