"""Which lake a person means: the one that is named, or the only one there is. Nothing is made."""

import os

from errors import UnknownName, UserError
from lake.lake import Lake, open_lake
from settings import read_settings


def open_named(name: str | None) -> Lake:
    """The lake of this name, or the one that is meant where none is named. Nothing is made."""
    settings = read_settings(**({"lake": name} if name else {}))
    known = lake_names()
    if settings.store:
        return open_lake(settings)
    if not known:
        raise UserError(f"there is no lake in {settings.home} yet; `make run` makes one")
    if name or os.environ.get("FUELLINE_LAKE"):
        if settings.lake not in known:
            raise UnknownName("lake", settings.lake, known)
        return open_lake(settings)
    if len(known) > 1:
        raise UserError(f"there are several lakes: {', '.join(known)}; choose one with --lake")
    return open_lake(read_settings(lake=known[0]))


def open_every(name: str | None) -> list[Lake]:
    """The lake that is named, or every one."""
    if name or os.environ.get("FUELLINE_LAKE") or os.environ.get("FUELLINE_STORE"):
        return [open_named(name)]
    return [open_named(one) for one in lake_names()] or [open_named(None)]


def lake_names() -> list[str]:
    """Names of the embedded lakes; a folder with a catalogue or a ledger is one."""
    home = read_settings().home
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return [folder.name for folder in folders if (folder / "catalog.db").exists() or (folder / "objects").is_dir()]
