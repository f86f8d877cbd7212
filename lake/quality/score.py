"""The quality of the data: a score of 0 to 100, whether the contract's promises are kept, and the gate before training.

The score is the share of the landed rows, without identical duplicates, that passed every check of the contract. It is
computed from the ledger, where ingestion counted every row, so that no table is scanned.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from errors import QualityTooLow
from lake.contracts.base import Contract
from lake.lake import Lake
from lake.store.ledger import Entry

UNREADABLE = frozenset(
    {"malformed_json", "malformed_csv", "invalid_utf8", "truncated_file", "unreadable_file", "oversized_line"}
)
"""Reasons that mean that a line could not be read at all."""
ROWS = ("landed", "committed", "quarantined", "duplicates")
"""The counts of ingestion: the first is the sum of the others."""
PROMISES = 2
"""The first rules of a report are the contract's promises: completeness and parsing errors."""


class QualityLevel(Enum):
    """What the score means for training."""

    GOOD = "good"
    WARNING = "warning"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityGate:
    """The scores below which there is a warning, and below which training is refused."""

    warn_below: float = 95.0
    block_below: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.block_below <= self.warn_below <= 100:
            raise ValueError(f"0 <= block_below <= warn_below <= 100 does not hold for {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityRule:
    """One promise of the contract, or one reason for quarantine, and whether it is within its limit."""

    rule: str
    rows: int
    """Rows that broke it."""
    share: float
    """Share of the landed rows without duplicates, 0..1."""
    limit: float
    """The largest share that the contract allows."""
    kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityReport:
    """The quality of what landed in one data set."""

    data_set: str
    level: QualityLevel
    score: float
    objects: int
    landed: int
    committed: int
    quarantined: int
    duplicates: int
    rules: list[QualityRule] = field(default_factory=list)
    """The contract's two promises, then each reason that occurred, the most frequent first."""
    newest: str = ""
    """Time of the newest row, ISO 8601."""

    @property
    def promises(self) -> list[QualityRule]:
        """Completeness and parsing errors, as the contract promises them."""
        return self.rules[:PROMISES]

    @property
    def reasons(self) -> list[QualityRule]:
        """Reasons for quarantine, the most frequent first."""
        return self.rules[PROMISES:]


def quality_report(
    lake: Lake,
    contract: Contract,
    source: str,
    gate: QualityGate,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QualityReport:
    """Score what landed after ``since`` (default: ever) and up to ``until`` (default: now), from one source or, where
    ``source`` is empty, from all.

    An object that was read again by a newer contract or parser counts once, by its last reading, and with the rows that
    were committed before. Where nothing landed the score is 100.
    """
    chains = [f"sources/{source}"] if source else lake.ledger.chains("sources/")
    entries = [entry for chain in chains for entry in lake.ledger.entries(chain, kind="ingested", until=until)]
    ours = [entry for entry in entries if entry.key.startswith(f"ingest:{contract.name}:")]
    ours.sort(key=lambda entry: entry.time)
    done = [entry for read in _readings(ours) if since is None or read[-1].time > since for entry in read]
    counted = account(done)
    total = {name: counted[name] for name in ROWS}
    unique = total["landed"] - total["duplicates"]
    score = 100.0 * total["committed"] / unique if unique else 100.0
    level = QualityLevel.WARNING if score < gate.warn_below else QualityLevel.GOOD
    if score < gate.block_below:
        level = QualityLevel.BLOCKED
    return QualityReport(
        data_set=contract.name,
        level=level,
        score=round(score, 2),
        objects=counted["objects"],
        rules=_rules(contract, Counter(counted["reasons"]), unique),
        newest=max((entry.payload["watermark"] for entry in done), default=""),
        **total,
    )


def require_quality(report: QualityReport, gate: QualityGate) -> None:
    """Raise ``QualityTooLow``, with the worst reasons, where the data are too poor to train on."""
    if report.level is QualityLevel.BLOCKED:
        worst = ", ".join(f"{rule.rule} {rule.rows}" for rule in report.reasons[:3])
        raise QualityTooLow(
            f"{report.data_set}: quality {report.score:.1f} is below {gate.block_below:g} "
            f"({report.quarantined} of {report.landed} rows quarantined: {worst}). Repair the source and ingest again; "
            f"the rows are in quarantine.{report.data_set.split('.')[1]}"
        )


def account(ingested: Sequence[Entry]) -> dict[str, Any]:
    """The number of ``objects`` in these ``ingested`` entries of any sources, the rows by ``reasons`` for quarantine,
    the most frequent first, and the counts that ``ROWS`` names. An object that was read again counts once.
    """
    done = [_together(read) for read in _readings(ingested)]
    reasons = sum((Counter(p["reasons"]) for p in done), Counter[str]())
    rows = {name: sum(p[name] for p in done) for name in ROWS}
    return {"objects": len(done), **rows, "reasons": dict(reasons.most_common())}


def _readings(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries of each object, that is of each data set and content, in order."""
    readings: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        readings[entry.key.split(":")[1], entry.payload["sha256"]].append(entry)
    return list(readings.values())


def _together(readings: Sequence[Entry]) -> Mapping[str, Any]:
    """The counts of one object over its readings. Rows that an earlier reading committed are not duplicates."""
    last = readings[-1].payload
    passed = last["landed"] - last["quarantined"]
    committed = min(passed, sum(entry.payload["committed"] for entry in readings))
    return {**last, "committed": committed, "duplicates": passed - committed}


def _rules(contract: Contract, reasons: Counter[str], unique: int) -> list[QualityRule]:
    """The rules of a report, from the quarantined rows by reason and the number of rows without duplicates."""
    incomplete, unreadable = sum(reasons.values()), sum(n for name, n in reasons.items() if name in UNREADABLE)
    promises = [
        _rule("completeness", incomplete, unique, 1 - contract.completeness),
        _rule("parsing_errors", unreadable, unique, contract.parse_errors_max),
    ]
    return [*promises, *(_rule(name, rows, unique, 1 - contract.completeness) for name, rows in reasons.most_common())]


def _rule(name: str, rows: int, unique: int, limit: float) -> QualityRule:
    share = rows / unique if unique else 0.0
    return QualityRule(rule=name, rows=rows, share=share, limit=round(limit, 6), kept=share <= limit)
