"""One commit to a table, and the loop that repeats it when another writer was first.

pyiceberg's own retry is off: it would apply a change on top of the other writer's commit without checking again what
the change was based on, for example that no snapshot has its key. Every attempt here loads the table, checks, and
commits on exactly the snapshot that it checked.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from errors import CommitContended, PeerError

if TYPE_CHECKING:
    from pyiceberg.table import Transaction

TRIES = 40

T = TypeVar("T")


class CommitOutcome(Enum):
    """What is known of a commit."""

    DONE = "done"
    """It is in effect."""
    CONFLICT = "conflict"
    """Another writer was first: nothing refers to the files of this commit."""
    UNKNOWN = "unknown"
    """It is not in effect so far, but may be in a moment: its files must stay."""


def retry_commit(attempt: Callable[[], T | None], table: str, action: str) -> T:
    """Repeat an attempt until it succeeds. Raises ``CommitContended`` where other writers were first 40 times.

    Args:
        attempt: loads the table, commits once and returns its result. It returns None or raises pyiceberg's
            ``CommitFailedException`` when another writer was first.
        table: the table's name, for the error.
        action: what the attempt does, for the error, such as "compaction".
    """
    from pyiceberg.exceptions import CommitFailedException

    for _ in range(TRIES):
        try:
            result = attempt()
        except CommitFailedException:
            continue
        if result is not None:
            return result
    raise CommitContended(f"{table}: {action} failed {TRIES} times because other writers were first; run it again")


def commit_once(transaction: "Transaction", table: str, in_effect: Callable[[], bool]) -> CommitOutcome:
    """Commit a transaction. After an error, look whether it took effect: only the reply may have been lost.

    ``in_effect`` loads the table and looks for the commit. Raises ``PeerError`` where the catalogue failed and the
    commit is not in effect so far.
    """
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

    try:
        transaction.commit_transaction()
    except Exception as error:  # whatever it was: the reply may be lost and the commit in effect
        if in_effect():
            return CommitOutcome.DONE
        if isinstance(error, CommitFailedException):
            return CommitOutcome.CONFLICT
        if isinstance(error, CommitStateUnknownException):
            return CommitOutcome.UNKNOWN
        raise PeerError(f"{table}: the commit failed with {type(error).__name__}") from error
    return CommitOutcome.DONE
