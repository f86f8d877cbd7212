"""The kinds of entries in a model's chain that several packages read, and the version that an entry is about."""

from lake.store.ledger import Entry

CLOSING = ("promoted", "rejected", "inconclusive", "rolled_back")
"""Kinds that end a rollout."""


def version_name(entry: Entry) -> str:
    """``agents@v3`` where the entry is about a version, else nothing."""
    number = entry.payload.get("version")
    return f"{entry.chain.partition('/')[2]}@v{number}" if number else ""
