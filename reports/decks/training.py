"""Decks of a retraining: training set, training, evaluation, registration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.charts.common import bars, forest, loss_curve
from reports.common.html import facts, fields, table

if TYPE_CHECKING:
    from lake.lake import Lake
    from models.types import Evaluation, ModelVersion, TrainedAdapter, TrainingSet


def training_set_deck(lake: "Lake", training_set: "TrainingSet") -> list[str]:
    """The size and split of a training set, and its train rows by agent."""
    from models.data.training_set import read_training_set

    agents = read_training_set(lake, training_set, "train", ["agent_name"])["agent_name"].value_counts().to_pylist()
    rows = dict(sorted((agent["values"], agent["counts"]) for agent in agents))
    return [
        facts(fields(training_set, "train_rows", "test_rows", "split_at", "cut")),
        bars(rows, "Train rows by agent", "rows"),
    ]


def training_deck(adapter: "TrainedAdapter", profile: str, losses: Sequence[float]) -> list[str]:
    """The figures of a training and its loss curve (nats per response token, one value per step)."""
    figures = {"loss": adapter.train_loss, "adapter": adapter.digest[:8]}
    return [facts({"profile": profile, **fields(adapter, "steps", "tokens"), **figures}), loss_curve(losses)]


def evaluation_deck(evaluation: "Evaluation") -> list[str]:
    """The judgement, and the score difference overall and by agent."""
    slices = [evaluation.overall, *evaluation.agents]
    columns = ("slice", "rows", "users", "candidate", "baseline", "difference", "low", "high")
    return [
        facts({**fields(evaluation, "judgement", "baseline"), "rows": evaluation.overall.rows}),
        forest(slices),
        table([fields(part, *columns) for part in slices]),
    ]


def registration_deck(version: "ModelVersion", mlflow: str) -> list[str]:
    """The new version's names, and the state of its mirror in MLflow."""
    return [facts({"version": version.name, "serves as": version.adapter_name, "MLflow": mlflow})]
