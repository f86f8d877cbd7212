"""The quality gate: what landed, scored against its contract."""

from typing import NamedTuple

import pandera.pandas as pandera
from pandera.typing.pandas import DataFrame, Series

from lake.quality.score import QualityGate, QualityReport
from models.retraining.pin import Pinned
from tasks.environments import cpu
from tasks.runtime import lake, publish


class QualityByRule(pandera.DataFrameModel):
    """One row a promise of the contract or a reason for quarantine."""

    rule: Series[str]
    rows: Series[int] = pandera.Field(ge=0)
    share: Series[float] = pandera.Field(ge=0, le=1)
    limit: Series[float] = pandera.Field(ge=0, le=1)
    kept: Series[bool]


class CheckedQuality(NamedTuple):
    """The report, and its rules as a frame for the console."""

    report: QualityReport
    rules: DataFrame[QualityByRule]


@cpu
def check_quality(pinned: Pinned, source: str, gate: QualityGate) -> CheckedQuality:
    """Score what landed since the last training; a score under ``gate.block_below`` fails, and so blocks training."""
    import pandas as pd
    from flytekitplugins.deck.renderer import TableRenderer

    from lake.quality.score import require_quality
    from models.retraining.pin import quality_since_training
    from reports.decks.quality import gate_deck

    report = quality_since_training(lake(), pinned, source, gate)
    columns = {
        name: [getattr(rule, name) for rule in report.rules] for name in ("rule", "rows", "share", "limit", "kept")
    }
    rules = pd.DataFrame(columns).astype({"rows": "int64", "share": "float64", "limit": "float64", "kept": "bool"})
    publish(20, "Quality", *gate_deck(report), TableRenderer().to_html(rules))
    require_quality(report, gate)
    return CheckedQuality(report, DataFrame[QualityByRule](rules))
