"""The errors for an invalid setting and for a service that does not answer: each gives an example of the setting."""

from errors import PeerError, SettingsError
from settings import setting_message


def invalid_setting(name: str, reason: str) -> SettingsError:
    """The error for a setting whose value has to be corrected."""
    return SettingsError(setting_message(name, reason))


def unavailable(name: str, reason: str) -> PeerError:
    """The error for a service that a setting names and that does not answer. It may be back soon: a task retries."""
    return PeerError(setting_message(name, reason))
