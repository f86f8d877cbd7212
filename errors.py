"""Every error Fuelline raises on purpose. A user error says what was wrong, with the value, and what to do.

FuellineError
├── UserError
│   └── SettingsError, SourceError (NothingArrived), ContractError, BaseModelError, DataError, QualityTooLow,
│       UnknownName
├── PeerError
│   └── ObjectMissing, ObjectExists, ObjectChanged, CommitContended
├── IntegrityError
│   └── LedgerBroken, TamperedArtifact
└── TrainingError, ChainChanged, LeaseLost, RolloutRolledBack
"""

import difflib
from collections.abc import Iterable


class FuellineError(Exception):
    """The base class: catch it to catch every error that Fuelline raises on purpose."""


class UserError(FuellineError):
    """An error that the caller can correct; the message says how."""


class SettingsError(UserError):
    """A ``FUELLINE_*`` setting is missing, malformed or points nowhere."""


class SourceError(UserError):
    """A source cannot be read at all. (A bad row is data, not an error: it is quarantined.)"""


class ContractError(UserError):
    """A data set and its contract disagree: a breaking change, an unknown column."""


class BaseModelError(UserError):
    """The base model cannot be found or is not a causal language model."""


class DataError(UserError):
    """Too little or unusable data for the operation."""


class NothingArrived(SourceError):
    """A source has delivered no data yet."""


class QualityTooLow(UserError):
    """The data are too poor to train on."""


class UnknownName(UserError):
    """A model, version, agent or table that does not exist; the message suggests one that does."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, sorted(known)
        close = difflib.get_close_matches(name, self.known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(self.known) or 'none yet'}"
        super().__init__(f"no {what} named {name!r}{hint}")

    def __reduce__(self) -> tuple[type, tuple[str, str, list[str]]]:
        return type(self), (self.what, self.name, self.known)


class PeerError(FuellineError):
    """A store, catalogue or server answered wrongly or not at all."""


class ObjectMissing(PeerError):
    """No object has this key."""


class ObjectExists(PeerError):
    """A ``create`` found an object under the key."""


class ObjectChanged(PeerError):
    """A ``replace`` found another version than the one it was based on."""


class CommitContended(PeerError):
    """A table commit failed too often because other writers were first."""


class IntegrityError(FuellineError):
    """Stored data differ from what was written."""


class LedgerBroken(IntegrityError):
    """The hash chain of a ledger is broken."""


class TamperedArtifact(IntegrityError):
    """A file's digest differs from its manifest."""


class TrainingError(FuellineError):
    """The loss is not finite, or a replay gave other bytes."""


class ChainChanged(FuellineError):
    """A ledger entry was based on a state of its chain that has changed: read it and decide again."""


class LeaseLost(FuellineError):
    """Another holder has the lease now."""


class RolloutRolledBack(FuellineError):
    """A rollout was rolled back to the previous version. Raised once, so that failure alerts report it."""
