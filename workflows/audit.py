"""The audit of a data set, for every day's schedule."""

from flytekit import workflow
from pandera.typing.pandas import DataFrame

from tasks.audit import RepeatedKeys, audit_uniqueness


@workflow
def audit(data_set: str = "processed.agent_interactions", source: str = "agents") -> DataFrame[RepeatedKeys]:
    """Find what a data set holds more than once.

    Args:
        data_set: whose newest version is read.
        source: whose ledger the finding goes into.
    """
    return audit_uniqueness(data_set=data_set, source=source)
