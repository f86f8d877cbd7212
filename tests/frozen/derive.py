"""The names that must not change, as the code has them now; ``names.yaml`` has them as they must stay.

``python -m tests.frozen.derive`` adds to that file the names that are new. It takes none out.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from flytekit.core.base_task import PythonTask
from pydantic.fields import FieldInfo

from features.curated import datasets
from features.curated.tables import TABLES
from features.definitions.views import SERVICES
from features.drift import Profile, Shift
from features.online.feast_repo import entities, feature_service, feature_views
from lake.contracts import contracts
from lake.ingest.pipeline import Ingested
from lake.maintenance.retention import RetentionDue
from lake.quality.monitor import Freshness, MonitoringPolicy
from lake.quality.score import QualityGate, QualityLevel
from lake.quality.staleness import SourceFreshness
from lake.sources.response_log import LoggedRequest
from lake.sources.selection import Pulled
from lake.store.leases import Lease
from lake.store.ledger import Entry
from lake.tables.versions import TableVersion
from launchplans.registry import launch_plans, registered_workflows
from models.data.training_set import Weights
from models.evaluation.evaluate import EvaluationRule
from models.evaluation.statistics import Interval
from models.llm.probe import Probe, ProbeLine
from models.registry.manifest import Manifest
from models.registry.training_lease import Claim
from models.retraining.pin import Pinned
from models.serialize import to_plain
from models.spec import PROFILES, ModelSpec, RetrainingInputs, TrainingProfile
from models.triggers.power import Sensitivity
from models.triggers.requests import RequestOutcome
from models.triggers.rules import (
    DriftRule,
    ErrorRateRule,
    FeedbackRule,
    ManualRule,
    RetryBackoff,
    ScheduleRule,
    Trigger,
    VolumeRule,
)
from models.triggers.window import FindingStatus
from models.tuning.plan import Parameters, Rung, SearchSpace, Trial, TrialState, TuningPlan
from models.types import (
    Cause,
    Evaluation,
    Judgement,
    ModelVersion,
    Outcome,
    ScoreDifference,
    TrainedAdapter,
    TrainingSet,
    Verdict,
)
from reports.run_summary import RunSummary, Scores
from serving.gateway.metrics import GatewayMetrics
from serving.policy import CanaryRule, Metric
from serving.replicas.load_gate import GateResult
from serving.rollout.plan import RolloutPlan
from serving.rollout.state_machine import MissedCalls
from serving.routing.split import unit_of
from serving.statistics.sequential_test import Analysis, ArmCounts, MetricAnalysis
from serving.statistics.shadow_test import PairedEvents, ShadowEvidence, ShadowRule
from settings import Settings
from tasks.evaluation import evaluate_candidate
from tasks.execution.start import execution_name
from tasks.training import build_training_set, train_adapter
from tests.frozen.file import FILE, PACKAGES, recorded

ROOT = Path(__file__).parents[2]

STORED: dict[str, type] = {
    "Cause": Cause,
    "Claim": Claim,
    "DriftProfile": Profile,
    "DriftShift": Shift,
    "ErrorRateSight": Sensitivity,
    "Evaluation": Evaluation,
    "IngestedObject": Ingested,
    "Interval": Interval,
    "Lease": Lease,
    "LedgerEntry": Entry,
    "LoggedRequest": LoggedRequest,
    "Manifest": Manifest,
    "ModelVersion": ModelVersion,
    "Pinned": Pinned,
    "Probe": Probe,
    "ProbeLine": ProbeLine,
    "PulledWindow": Pulled,
    "RetentionDue": RetentionDue,
    "RetrainingInputs": RetrainingInputs,
    "RolloutPlan": RolloutPlan,
    "RunScores": Scores,
    "RunSummary": RunSummary,
    "ScoreDifference": ScoreDifference,
    "ServingProof": GateResult,
    "ShadowEvidence": ShadowEvidence,
    "ShadowPairedEvents": PairedEvents,
    "SilentSource": SourceFreshness,
    "TableVersion": TableVersion,
    "TrainedAdapter": TrainedAdapter,
    "TrainingSet": TrainingSet,
    "Trial": Trial,
    "TrialParameters": Parameters,
    "TrialRung": Rung,
    "Verdict": Verdict,
    "WatchedFreshness": Freshness,
    "CanaryAnalysis": Analysis,
    "CanaryArmCounts": ArmCounts,
    "CanaryMetricAnalysis": MetricAnalysis,
    "CanaryMissed": MissedCalls,
}
"""Dataclasses that are stored, by a label that stays where the class is renamed."""
INPUTS: dict[str, type] = {
    "CanaryRule": CanaryRule,
    "DriftRule": DriftRule,
    "ErrorRateRule": ErrorRateRule,
    "EvaluationRule": EvaluationRule,
    "FeedbackRule": FeedbackRule,
    "HandRule": ManualRule,
    "ModelSpec": ModelSpec,
    "Patience": RetryBackoff,
    "QualityGate": QualityGate,
    "ScheduleRule": ScheduleRule,
    "SearchSpace": SearchSpace,
    "ShadowRule": ShadowRule,
    "TrainingProfile": TrainingProfile,
    "TuningPlan": TuningPlan,
    "VolumeRule": VolumeRule,
    "WatchRule": MonitoringPolicy,
    "Weights": Weights,
}
"""Dataclasses that are hashed into keys, or given to launch plans by their fields' names."""
HASHED: dict[str, Any] = {
    "CanaryRule": CanaryRule(),
    "DriftRule": DriftRule(),
    "ErrorRateRule": ErrorRateRule(),
    "EvaluationRule": EvaluationRule(),
    "FeedbackRule": FeedbackRule(),
    "HandRule": ManualRule(reason="reason", by="by"),
    "ModelSpec": ModelSpec(),
    "ScheduleRule": ScheduleRule(),
    "SearchSpace": SearchSpace(),
    "ShadowRule": ShadowRule(),
    "TuningPlan": TuningPlan(),
    "VolumeRule": VolumeRule(),
    "Weights": Weights(),
    **{f"TrainingProfile {name}": make() for name, make in PROFILES.items()},
}
"""What enters keys, with its defaults."""
VALUES: dict[str, type[Enum]] = {
    "CanaryMetric": Metric,
    "Judgement": Judgement,
    "Outcome": Outcome,
    "QualityLevel": QualityLevel,
    "Trigger": Trigger,
    "TriggerAnswer": RequestOutcome,
    "TriggerFound": FindingStatus,
    "TrialState": TrialState,
}
"""Enumerations whose values are stored."""
CACHED: list[PythonTask] = [build_training_set, train_adapter, evaluate_candidate]
"""The tasks with a cache."""
NOT_STORED = ("getLogger", "TemporaryDirectory")
"""Functions whose argument names a log or a scratch folder."""

Names = dict[str, Any] | list[str]


@cache
def derived() -> dict[str, Names]:
    """Every section of names but the ledger's, which ``tests.frozen.ledger`` checks as entries are written."""
    return {
        "stored_types": {label: stored_names(kind) for label, kind in STORED.items()},
        "input_types": {label: stored_names(kind) for label, kind in INPUTS.items()},
        "hashed_defaults": {label: _digest(value) for label, value in HASHED.items()},
        "computed": _computed(),
        "stored_values": {label: [member.value for member in kind] for label, kind in VALUES.items()},
        "cached_tasks": {task.name: _interface(task) for task in CACHED},
        "launch_plans": {name: _plan(plan) for name, plan in launch_plans().items()},
        "workflows": {
            name.rsplit(".", 1)[1]: list(graph.interface.inputs) for name, graph in registered_workflows().items()
        },
        "metrics": _metrics(),
        "settings": [f"{Settings.model_config['env_prefix']}{name.upper()}" for name in Settings.model_fields],
        "tables": {name: [_column(column) for column in item.columns] for name, item in contracts().items()},
        "feast": _feast(),
        "http": sorted(_http()),
        "marks": sorted(_marks()),
    }


def flat(names: Any, path: str = "") -> Iterator[str]:
    """Every name as one line, such as ``ModelSpec: base``."""
    if isinstance(names, dict):
        for name, part in names.items():
            yield f"{path}{name}"
            yield from flat(part, f"{path}{name}: ")
    elif isinstance(names, list):
        for part in names:
            yield from flat(part, path)
    else:
        yield f"{path}{names}"


def stored_names(kind: Any) -> list[str]:
    """The names that a dataclass' fields are stored by: see ``models/serialize.py``."""
    hints = get_type_hints(kind, include_extras=True)
    marks = {name: getattr(hints[name], "__metadata__", ()) for name in kind.__dataclass_fields__}
    aliases = {n: [m.alias for m in found if isinstance(m, FieldInfo) and m.alias] for n, found in marks.items()}
    return [known[0] if known else name for name, known in aliases.items()]


def source_names() -> set[str]:
    """Every name and text that the code writes out: string constants, annotated fields, keywords."""
    return {name for path in _sources() for name in _names_in(path)}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(to_plain(value), sort_keys=True).encode()).hexdigest()[:16]


def _computed() -> dict[str, Any]:
    texts = {item.contract.name: item.definition for item in TABLES}
    texts["curated.training_datasets"] = datasets.definition()
    return {
        **{f"definition of {name}": hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()},
        "unit of user:u-17 in rollout:agents@v2:base:x": unit_of("rollout:agents@v2:base:x", "user:u-17"),
        "execution name of Run 7 of agents": execution_name("Run 7 of agents"),
    }


def _interface(task: PythonTask) -> dict[str, Any]:
    return {"inputs": list(task.interface.inputs), "outputs": list(task.interface.outputs)}


def _plan(plan: Any) -> dict[str, Any]:
    """The inputs, and the schedule's name, which names the chain that remembers how far it has come."""
    literals = plan.fixed_inputs.literals
    window = literals["schedule"].scalar.primitive.string_value if "schedule" in literals else ""
    return {"inputs": list(plan.workflow.interface.inputs)} | ({"schedule": window} if window else {})


def _metrics() -> dict[str, Any]:
    found: list[Any] = list(GatewayMetrics().registry._collector_to_names)
    return {f"{item.describe()[0].name} ({item.describe()[0].type})": list(item._labelnames) for item in found}


def _column(column: Any) -> str:
    return f"{column.name} {column.type}{' not null' if column.required else ''}"


def _feast() -> Names:
    views = feature_views()
    return {
        "entities": [f"{item.name} by {item.join_key}" for item in entities()],
        "views": {view.name: _view(view) for view in views},
        "services": {
            name: [view.name for view in feature_service(name, name, views).feature_view_projections]
            for name in SERVICES
        },
    }


def _view(view: Any) -> Names:
    fields = [f"{item.name} {item.dtype}, {item.tags.get('unit', 'key')}: {item.description}" for item in view.schema]
    return {
        "description": view.description,
        "owner": view.owner,
        "tags": [f"{name}={value}" for name, value in sorted(view.tags.items())],
        "ttl": str(view.ttl),
        "fields": sorted(fields),
    }


def _marks() -> set[str]:
    """Texts that begin with the project's name and are written somewhere: table properties, queues, types of events."""
    return {text for path in _sources() for text in _texts(path) if text.startswith(("fuelline.", "fuelline-"))}


def _http() -> set[str]:
    """Paths and headers of what is served, and of what vLLM is asked for."""
    served = (path for path in _sources() if path.is_relative_to(ROOT / "serving"))
    return {text for path in served for text in _texts(path) if re.fullmatch(r"/[a-z0-9/_]+|x-[a-z-]+", text)}


@cache
def _sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _texts(path: Path) -> Iterator[str]:
    """String constants that are no docstrings and name no log."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(part)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in NOT_STORED) or isinstance(node, ast.Expr)
        if isinstance(node, ast.Call) or isinstance(node.value, ast.Constant)
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def add() -> None:
    """Write the names that are new into the file."""
    sections = recorded()
    for section, names in derived().items():
        sections[section]["names"] = _merged(sections[section].get("names"), names)
    FILE.write_text(yaml.safe_dump(sections, width=120, sort_keys=False, allow_unicode=True, default_flow_style=None))


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: _merged(old.get(name), new.get(name)) for name in {**old, **new}}
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *(name for name in new if name not in old)]
    return new if old is None else old


if __name__ == "__main__":
    add()
    sys.stdout.write(f"Wrote {FILE}\n")
