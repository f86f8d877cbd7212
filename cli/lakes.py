"""The lake that a command is about."""

from typing import TYPE_CHECKING

from errors import UnknownName

if TYPE_CHECKING:
    from lake.lake import Lake


def open_lake(name: str | None) -> "Lake":
    """The lake of ``--lake``, of the settings, or the only one there is. Nothing is made."""
    from lake.lake import open_named

    return open_named(name)


def check_model(lake: "Lake", model: str) -> None:
    """See that the lake's ledger knows the model.

    Raises:
        UnknownName: it does not.
    """
    models = [chain.removeprefix("models/") for chain in lake.ledger.chains("models/")]
    if model not in models:
        raise UnknownName("model", model, models)
