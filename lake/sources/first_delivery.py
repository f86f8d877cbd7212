"""A source that is set but has not delivered anything yet: that is no fault for a day, then it is reported once."""

from datetime import datetime, timedelta

from lake.lake import Lake

PATIENCE = timedelta(days=1)
"""From the first check that found nothing to the one that reports it."""
AWAITED, OVERDUE = "awaited", "overdue"
"""Kinds of the ledger entries of the first such check, and of the one that reports."""


def overdue(lake: Lake, source: str, data_set: str, at: datetime) -> bool:
    """Whether the check ``at`` this time (UTC) is the one that reports a source without any delivery.

    A repeated check of the same time has the same result; every later one is False.
    """
    chain = f"sources/{source}"
    awaited = lake.ledger.append(chain, AWAITED, f"{AWAITED}:{data_set}", {"data_set": data_set, "at": at.isoformat()})
    if at < datetime.fromisoformat(awaited.payload["at"]) + PATIENCE:
        return False
    payload = {"data_set": data_set, "at": at.isoformat()}
    reported = lake.ledger.append(chain, OVERDUE, f"{OVERDUE}:{data_set}", payload)
    return bool(reported.payload["at"] == at.isoformat())
