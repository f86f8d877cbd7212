"""Every error Fuelline raises on purpose. A user error says what was wrong, with the value, and what to do.

FuellineError
├── UserError                 the caller can mend it
│   ├── SettingsError         a FUELLINE_* setting is missing, malformed or points nowhere
│   ├── SourceError           a source cannot be read at all (a bad row is data, not an error: it is quarantined)
│   ├── ContractError         a data set and its contract disagree (a breaking change, an unknown column)
│   ├── UnknownName           a model, version, agent or table that is not there; carries suggestions
│   ├── BaseModelError        the base model cannot be found or is not a causal language model
│   ├── DataError             too little or unusable data for what was asked
│   └── QualityTooLow         the quality gate is closed
├── PeerError                 a store, catalogue or server answered wrongly or not at all
│   ├── ObjectMissing, ObjectExists, ObjectChanged   the answers of a conditional object store
│   └── CommitContended       a table commit lost its race too often
├── IntegrityError            what is stored is not what was written
│   ├── LedgerBroken          the hash chain does not hold
│   └── TamperedArtifact      a file's digest differs from its manifest
├── TrainingError             the loss left the real numbers, or a replay gave other bytes
├── RolloutWentBack           users were taken back to the version before; said once, so that a person hears of it
├── ChainMoved                what an entry was based on no longer holds; decide again
└── LeaseLost                 another holder has the lease now
"""

import difflib
from collections.abc import Iterable


class FuellineError(Exception):
    """The root: catch this to catch everything Fuelline raises on purpose."""


class UserError(FuellineError):
    """Something the caller can mend; the message says how."""


class SettingsError(UserError):
    """A ``FUELLINE_*`` setting is missing, malformed or points nowhere."""


class SourceError(UserError):
    """A source cannot be read at all."""


class ContractError(UserError):
    """A data set and its contract disagree."""


class BaseModelError(UserError):
    """The base model cannot be found or is not a causal language model."""


class DataError(UserError):
    """Too little or unusable data for what was asked."""


class QualityTooLow(UserError):
    """The quality gate is closed: the data are too poor to train on."""


class UnknownName(UserError):
    """A model, version, agent or table that is not there."""

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
    """A create found the key taken."""


class ObjectChanged(PeerError):
    """A replace found another version than the one it was based on."""


class CommitContended(PeerError):
    """A table commit lost its race too often."""


class IntegrityError(FuellineError):
    """What is stored is not what was written."""


class LedgerBroken(IntegrityError):
    """The hash chain of a ledger does not hold."""


class TamperedArtifact(IntegrityError):
    """A file's digest differs from its manifest."""


class TrainingError(FuellineError):
    """The loss left the real numbers, or a replay gave other bytes."""


class ChainMoved(FuellineError):
    """What a ledger entry was based on no longer holds."""


class LeaseLost(FuellineError):
    """Another holder has the lease now."""


class RolloutWentBack(FuellineError):
    """Users were taken back to the version before; said once, so that a person hears of it."""
