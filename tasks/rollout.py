"""The rollout: where nothing serves live traffic, the shadow's verdict closes it."""

from models.pinning import Pinned
from models.spec import ModelSpec, TrainingProfile
from models.types import ModelVersion, Verdict
from serving.harm import ShadowRule
from tasks.environments import cpu, single_gpu
from tasks.runtime import lake, publish, show_lineage


@single_gpu
def shadow_rollout(
    pinned: Pinned, version: ModelVersion, spec: ModelSpec, profile: TrainingProfile, rule: ShadowRule
) -> Verdict:
    """Answer recent requests with both versions and promote, reject, or say that it is inconclusive."""
    from models.pinning import baseline_of
    from serving.shadow import shadow

    here = lake()
    verdict = shadow(here, version, spec, profile, baseline_of(here, pinned), rule)
    _show(verdict)
    return verdict


@cpu
def close_retraining(pinned: Pinned, verdict: Verdict) -> Verdict:
    """End the retraining in the ledger and let MLflow see what is in production now."""
    from lake.lineage import lineage
    from lake.lineage_views import as_svg
    from models.pinning import close
    from models.registry import production
    from models.tracking import mirror_production

    here = lake()
    closed = close(here, pinned, verdict)
    mirror_production(here.settings, pinned.model, production(here.ledger, pinned.model))
    show_lineage(as_svg(lineage(here, f"{closed.model}@v{closed.version}")))
    return closed


def _show(verdict: Verdict) -> None:
    from lake.charts import facts, note, table

    entry = next(e for e in lake().ledger.entries(f"models/{verdict.model}") if e.digest == verdict.entry)
    evidence = entry.payload.get("evidence") or {}
    counts = [
        {
            "event": name,
            **{key: evidence[name].get(key) for key in ("pairs", "candidate_only", "baseline_only", "chance")},
        }
        for name in ("likelihood", "generation")
        if name in evidence
    ]
    numbers = {key: evidence[key] for key in ("requests", "users", "difference", "low", "high") if key in evidence}
    parts = [facts({"outcome": verdict.outcome.value, **numbers}), note(verdict.reason)]
    publish(80, "Shadow rollout", *parts, *([table(counts)] if counts else []))
