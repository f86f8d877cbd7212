"""The lake that a command works on."""

from typing import TYPE_CHECKING

from errors import UnknownName

if TYPE_CHECKING:
    from lake.lake import Lake


def open_lake(name: str | None) -> "Lake":
    """Open the lake of ``--lake``, of the settings, or the only one that exists; creates nothing."""
    from lake.lake import open_named

    return open_named(name)


def check_model(lake: "Lake", model: str) -> None:
    """Raise ``UnknownName`` where the lake's ledger has no such model."""
    from models.registry.kinds import model_names

    models = model_names(lake.ledger)
    if model not in models:
        raise UnknownName("model", model, models)
