"""The daily audit of uniqueness: what stands on days further apart than a commit compares."""

import pandera.pandas as pandera
from pandera.typing.pandas import DataFrame

from tasks.environments import cpu
from tasks.runtime import lake, publish


class RepeatedKeys(pandera.DataFrameModel):
    """One row a broken rule."""

    reason: str
    keys: int = pandera.Field(ge=1)
    rows: int = pandera.Field(ge=2)


@cpu
def audit_uniqueness(data_set: str, source: str) -> DataFrame[RepeatedKeys]:
    """Find keys that more than one row of the newest version has, and write the finding to the source's ledger."""
    import pandas as pd

    from lake.audit import audit
    from lake.charts import facts, table
    from lake.contracts import contract

    here = lake()
    form = contract(data_set)
    version = here.tables.current(form)
    found = audit(here.tables, form, version) if version else []
    rows = [{"reason": one.reason, "keys": one.keys, "rows": one.rows} for one in found]
    here.ledger.append(
        f"sources/{source}", "audited", f"audited:{version}", {"version": str(version), "findings": rows}
    )
    publish(90, "Audit", facts({"version": str(version), "broken rules": len(rows)}), table(rows))
    frame = pd.DataFrame(rows, columns=["reason", "keys", "rows"]).astype({"keys": "int64", "rows": "int64"})
    return DataFrame[RepeatedKeys](frame)
