"""The daily audit of uniqueness: what stands on days further apart than a commit compares."""

from datetime import datetime

import pandera.pandas as pandera
from pandera.typing.pandas import DataFrame

from lake.lake import Lake
from lake.store.ledger import Entry
from tasks.environments import cpu
from tasks.runtime import due, lake, publish, publish_nothing_due


class RepeatedKeys(pandera.DataFrameModel):
    """One row a broken rule."""

    reason: str
    keys: int = pandera.Field(ge=1)
    rows: int = pandera.Field(ge=2)


@cpu
def audit_uniqueness(data_set: str, source: str) -> DataFrame[RepeatedKeys]:
    """Find keys that more than one row of the newest version has, and write the finding to the source's ledger."""
    return _told(_audit(lake(), data_set, source))


@cpu
def audit_due(
    data_set: str, source: str, kickoff: datetime, every_minutes: int, schedule: str
) -> list[DataFrame[RepeatedKeys]]:
    """The same, once a window; empty where an earlier run has done it."""
    here = lake()
    done = due(here, schedule, lambda _: _audit(here, data_set, source), kickoff=kickoff, every_minutes=every_minutes)
    if not done:
        publish_nothing_due(90, "Audit")
    return [_told(entry) for entry in done]


def _audit(here: Lake, data_set: str, source: str) -> Entry:
    """A version is looked through once: its finding stands in the ledger."""
    from lake.contracts import contract
    from lake.quality.audit import audit

    form = contract(data_set)
    version = here.tables.current(form)
    chain, key = f"sources/{source}", f"audited:{version}"
    if known := here.ledger.find(chain, key):
        return known
    found = audit(here.tables, form, version) if version else []
    rows = [{"reason": one.reason, "keys": one.keys, "rows": one.rows} for one in found]
    return here.ledger.append(chain, "audited", key, {"version": str(version), "findings": rows})


def _told(entry: Entry) -> DataFrame[RepeatedKeys]:
    import pandas as pd

    from reports.decks.quality import audit_deck

    publish(90, "Audit", *audit_deck(entry))
    frame = pd.DataFrame(entry.payload["findings"], columns=["reason", "keys", "rows"]).astype(
        {"keys": "int64", "rows": "int64"}
    )
    return DataFrame[RepeatedKeys](frame)
