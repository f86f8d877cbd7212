"""The summary of one run, read from the ledger: everything that happened since the run that was reported before it.

The summary is then written to the ledger itself (``reported``), so an old report never changes. It holds aggregates
only: no user's text and no user ids.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from errors import UnknownName, UserError
from lake.lake import Lake
from lake.quality.score import ROWS, account
from lake.store.ledger import Entry
from models.registry.kinds import CLOSING, REPORTED, model_chain, model_names, version_name
from reports.common.html import fields
from reports.common.ledger_text import SHORT, evidence

ENDS = (*CLOSING, "rollout_opened", "not_registered", "retraining_failed")
"""Kinds of entries that end a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Candidate and baseline on the same held-out rows, nats per response token: lower is better."""

    candidate: float
    baseline: float
    difference: float
    low: float
    high: float
    rows: int
    users: int
    against: str
    """The baseline's name."""
    judgement: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What one run ingested, trained and decided."""

    run: str
    model: str
    ended: str
    """Time of the last event, ISO 8601."""
    objects: int = 0
    landed: int = 0
    committed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Quarantined lines by reason."""
    scores: Scores | None = None
    version: str = ""
    """The version that was registered; empty if none was."""
    adapter: str = ""
    """Digest of the trained weights, shortened; empty if nothing was trained."""
    training_key: str = ""
    outcome: str = "nothing_new"
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON; infinite bounds are strings, which ``float`` reads."""
        plain = asdict(self)
        if scores := plain["scores"]:
            scores |= {end: str(scores[end]) for end in ("low", "high") if math.isinf(scores[end])}
        return plain

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "RunSummary":
        """The summary that ``plain`` was made of."""
        return TypeAdapter(cls).validate_python(plain)


def find_summary(lake: Lake, run: str = "") -> RunSummary:
    """The summary of a reported run; of the newest one where ``run`` is empty."""
    chains = [model_chain(model) for model in model_names(lake.ledger)]
    entries = sorted((e for c in chains for e in lake.ledger.entries(c, kind=REPORTED)), key=lambda e: e.time)
    chosen = [entry for entry in entries if not run or entry.payload["run"] == run]
    if not chosen:
        if not run:
            raise UserError(f"no run of lake {lake.settings.lake} has been reported yet; `make run` makes one")
        raise UnknownName("report of a run", run, (entry.payload["run"] for entry in entries))
    return RunSummary.of(chosen[-1].payload["summary"])


def summarize(lake: Lake, run: str, model: str) -> RunSummary:
    """What happened since the last reported run, from the ledger."""
    history = lake.ledger.entries(model_chain(model))
    last = next((e for e in reversed(history) if e.kind == REPORTED and e.payload["run"] != run), None)
    new = [entry for entry in history if last is None or entry.seq > last.seq]
    sources = [e for c in lake.ledger.chains("sources/") for e in lake.ledger.entries(c, kind="ingested")]
    ingested = [entry for entry in sources if last is None or entry.time > last.time]
    return RunSummary(
        run=run,
        model=model,
        ended=max((e.time for e in [*new, *ingested]), default=last.time if last else lake.ledger.clock()).isoformat(),
        **account(ingested),
        **_training(new),
    )


def _training(entries: list[Entry]) -> dict[str, Any]:
    last = {entry.kind: entry for entry in entries}
    ends = [entry for entry in entries if entry.kind in ENDS]
    started = {"trained", "judged", "registered"} & set(last)
    found: dict[str, Any] = {"outcome": ends[-1].kind if ends else "unfinished" if started else "nothing_new"}
    if ends:
        found["reason"] = evidence(ends[-1])
    if "trained" in last:
        found["adapter"] = str(last["trained"].payload["adapter_digest"])[:SHORT]
        found["training_key"] = str(last["trained"].payload["training_key"])
    if "registered" in last:
        found["version"] = version_name(last["registered"])
    if "judged" in last:
        judged = last["judged"].payload
        names = {"against": judged["baseline"], "judgement": judged["judgement"]}
        found["scores"] = TypeAdapter(Scores).validate_python(judged["overall"] | names)
    return found


def headline(summary: RunSummary) -> str:
    """The outcome in one sentence."""
    subject = summary.version or (f"The candidate {summary.adapter}" if summary.adapter else "")
    if not subject:
        return "Nothing was trained." if summary.outcome != "nothing_new" else "There was nothing new to train on."
    if not (scores := summary.scores):
        return f"{subject} was trained, but not judged."
    judgements = {
        "better": "is shown better than",
        "worse": "is shown worse than",
        "not_shown_better": "is not shown better than",
        "too_little_data": "was judged on too little data against",
    }
    return f"{subject} {judgements.get(scores.judgement, 'was judged against')} {scores.against}."


def key_figures(summary: RunSummary) -> tuple[dict[str, object], dict[str, object]]:
    """The counts of ingestion, and the scores of the two models; the second is empty where none were compared."""
    counts = fields(summary, *ROWS)
    if not (scores := summary.scores):
        return counts, {}
    return counts, {
        f"score of {summary.version or 'the candidate'}": f"{scores.candidate:.3f}",
        f"score of {scores.against}": f"{scores.baseline:.3f}",
        "difference, nats per token": f"{scores.difference:+.3f} [{scores.low:+.3f}, {scores.high:+.3f}]",
        "judged on": f"{scores.rows:,} rows, {scores.users:,} users",
    }
