"""Decks of a retraining: training set, training, evaluation, registration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.charts.common import bars, forest, loss_curve
from reports.common.html import facts, table

if TYPE_CHECKING:
    from lake.lake import Lake
    from models.types import Evaluation, ModelVersion, TrainedAdapter, TrainingSet


def training_set_deck(lake: "Lake", training_set: "TrainingSet") -> list[str]:
    """The size and split of a training set, and its train rows by agent."""
    from models.data.training_set import read_training_set

    rows = read_training_set(lake, training_set, "train", ["agent_name"])
    by_agent = rows.group_by("agent_name").aggregate([("agent_name", "count")]).sort_by("agent_name").to_pylist()
    return [
        facts(
            {
                "train rows": training_set.train_rows,
                "test rows": training_set.test_rows,
                "split at": f"{training_set.split_at:%Y-%m-%d %H:%M}",
                "cut": f"{training_set.cut:%Y-%m-%d %H:%M}",
            }
        ),
        bars(
            [row["agent_name"] for row in by_agent],
            [row["agent_name_count"] for row in by_agent],
            "Train rows by agent",
            "rows",
        ),
    ]


def training_deck(adapter: "TrainedAdapter", profile: str, losses: Sequence[float]) -> list[str]:
    """The figures of a training and its loss curve (nats per response token, one value per step)."""
    return [
        facts(
            {
                "profile": profile,
                "steps": adapter.steps,
                "tokens": adapter.tokens,
                "loss": adapter.train_loss,
                "adapter": adapter.digest[:8],
            }
        ),
        loss_curve(list(range(1, len(losses) + 1)), losses),
    ]


def evaluation_deck(evaluation: "Evaluation") -> list[str]:
    """The judgement, and the score difference overall and by agent."""
    slices = [evaluation.overall, *evaluation.agents]
    columns = ("slice", "rows", "users", "candidate", "baseline", "difference", "low", "high")
    return [
        facts(
            {
                "judgement": evaluation.judgement.value.replace("_", " "),
                "baseline": evaluation.baseline,
                "rows": evaluation.overall.rows,
            }
        ),
        forest(slices),
        table([{name: getattr(part, name) for name in columns} for part in slices]),
    ]


def registration_deck(version: "ModelVersion", mlflow: str) -> list[str]:
    """The new version's names, and the state of its mirror in MLflow."""
    return [facts({"version": version.name, "serves as": version.adapter_name, "MLflow": mlflow})]
