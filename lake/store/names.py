"""Which lakes there are: a mistyped name is an error where a command reads, and a warning where a process writes."""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from errors import FuellineError, PeerError, UnknownName, UserError

if TYPE_CHECKING:
    from settings import Settings

log = logging.getLogger("fuelline.lake")
NO_LAKE = {"checks", ".scratch"}
"""Folders that are also in a store that only ``fuelline check`` has opened."""
ANSWER_S = 3.0


def lake_names(settings: "Settings") -> list[str]:
    """Names of the lakes in the store, or of the embedded ones."""
    if settings.store.startswith("s3://"):
        from lake.store.s3 import S3Store

        store = S3Store(settings.store, settings, ANSWER_S)
        return [name for name in store.folders("") if set(store.folders(f"{name}/")) - NO_LAKE]
    if settings.store:
        return [lake.name for lake in _folders(Path(settings.store)) if {f.name for f in _folders(lake)} - NO_LAKE]
    found = _folders(settings.home)
    return [lake.name for lake in found if (lake / "catalog.db").exists() or (lake / "objects").is_dir()]


def require_lake(settings: "Settings") -> None:
    """Require the lake of these settings to exist.

    Raises ``UnknownName`` with the nearest name where it does not, ``UserError`` where there is none at all.
    """
    if settings.store.startswith("s3://"):
        from lake.store.s3 import S3Store

        if set(S3Store(settings.store_address, settings).folders("")) - NO_LAKE:
            return
    known: list[str] = []
    with contextlib.suppress(PeerError):  # an account that may list its own lake and no other
        known = lake_names(settings)
        if not known:
            raise UserError(f"there is no lake in {settings.store or settings.home} yet; `make run` creates one")
    if settings.lake not in known:
        raise UnknownName("lake", settings.lake, known)


def settings_of(name: str | None) -> "Settings":
    """Read the settings for a process that may create its lake; ``--lake`` overrides ``FUELLINE_LAKE``.

    It warns where the lake does not exist and others do: the name is probably mistyped.
    """
    from settings import read_settings

    settings = read_settings(**({"lake": name} if name else {}))
    with contextlib.suppress(FuellineError):  # the process itself reports a store that does not answer
        known = lake_names(settings)
        if known and settings.lake not in known:
            log.warning("what is written now makes a new lake: %s", UnknownName("lake", settings.lake, known))
    return settings


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
