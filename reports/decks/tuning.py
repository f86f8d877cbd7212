"""Deck of a search over hyperparameters."""

from typing import TYPE_CHECKING

from reports.charts.common import forest
from reports.charts.tuning import TrialCurve, loss_curves, parameters
from reports.common.html import facts, note, table

if TYPE_CHECKING:
    from models.tuning.plan import Trial, Tuned


def tuning_deck(tuned: "Tuned") -> list[str]:
    """Each trial's losses and parameters, the winner, and the trials' differences from the profile itself."""
    base = tuned.study.profile
    roles = {trial.number: trial.state.value for trial in tuned.trials} | {0: "start"} | {tuned.winner.number: "winner"}
    curves = [_curve(trial, roles[trial.number]) for trial in tuned.trials]
    ended = [trial.state.value for trial in tuned.trials]
    rows = [
        {
            "trial": trial.number,
            **curve.values,
            "steps": trial.steps,
            "loss": curve.losses[-1] if curve.losses else None,
            "became": curve.role,
        }
        for trial, curve in zip(tuned.trials, curves, strict=True)
    ]
    return [
        facts(
            {
                "trials": len(tuned.trials),
                **{state: ended.count(state) for state in ("complete", "pruned", "diverged")},
                f"loss of {base.name}": tuned.start.loss,
                f"loss of {tuned.winner.name}": tuned.winner.loss,
            }
        ),
        note(f"{tuned.reason[:1].upper()}{tuned.reason[1:]}."),
        loss_curves(curves),
        parameters(curves, logs=("learning rate",)),
        forest(tuned.differences, title=f"Validation loss, trial minus profile {base.name}"),
        table(rows),
    ]


def _curve(trial: "Trial", role: str) -> TrialCurve:
    return TrialCurve(
        role=role,
        steps=[rung.step for rung in trial.rungs],
        losses=[rung.loss for rung in trial.rungs],
        values={
            "learning rate": trial.parameters.learning_rate,
            "LoRA rank": trial.parameters.lora_rank,
            "length": trial.parameters.length,
        },
    )
