"""Errors of a setting that is wrong, and of a service that does not answer: each gives an example of the setting."""

from errors import PeerError, SettingsError
from settings import fault


def wrong(name: str, reason: str) -> SettingsError:
    """The error of a setting that only a person can mend."""
    return SettingsError(fault(name, reason))


def away(name: str, reason: str) -> PeerError:
    """The error of a service that a setting names and that does not answer: it may be back, so a task tries again."""
    return PeerError(fault(name, reason))
