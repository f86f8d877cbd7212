"""The report of one run: one HTML page that needs nothing else, with the run's outcome, its decks and its lineage.

Stages save their sections as they finish; the page is assembled at the end. What the run came to is read from the
ledger: everything since the run that was reported before. It is then written to the ledger itself (``reported``), so an
old report says the same for ever. Only aggregates go in: no user's text, no user ids.
"""

import html
import logging
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from errors import UnknownName, UserError
from lake.lake import Lake
from lake.quality.score import account
from lake.store.ledger import Entry
from lake.store.objects import ObjectStore
from models.registry.kinds import CLOSING, version_name
from reports.common.html import FONT, INK, LINE, MUTED, STYLE, facts, note, table
from reports.common.ledger_text import SHORT, evidence
from reports.lineage.graph import candidate_lineage, lineage
from reports.lineage.render import as_svg

log = logging.getLogger("fuelline.report")

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
GOOD, UNSURE, BAD, NEUTRAL = "#00795a", "#9a5b00", "#b84a00", "#5b6776"
"""Darker than the charts' colours, for white text on them."""
OUTCOMES = {
    "promoted": ("Promoted", GOOD),
    "rejected": ("Rejected", BAD),
    "rolled_back": ("Rolled back", BAD),
    "inconclusive": ("Inconclusive", UNSURE),
    "not_registered": ("Not registered", UNSURE),
    "retraining_failed": ("Failed", BAD),
    "unfinished": ("Unfinished", NEUTRAL),
    "nothing_new": ("Nothing new", NEUTRAL),
    "rollout_opened": ("Rolling out", UNSURE),
}
"""Word and colour of each outcome."""
ENDS = (*CLOSING, "rollout_opened", "not_registered", "retraining_failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Candidate and baseline on the same held-out rows, nats a response token: lower is better."""

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
    """What one run came to."""

    run: str
    model: str
    ended: str
    """Time of the last thing that happened, ISO 8601."""
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
        """As JSON; infinite bounds as strings, which ``float`` reads."""
        told = asdict(self)
        if self.scores:
            told["scores"] |= {"low": _finite(self.scores.low), "high": _finite(self.scores.high)}
        return told

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "RunSummary":
        """What ``plain`` was made of."""
        scores = plain["scores"]
        bounds = {name: float(scores[name]) for name in ("low", "high")} if scores else {}
        return cls(**plain | {"scores": Scores(**scores | bounds) if scores else None})


def save_section(store: ObjectStore, run: str, order: int, name: str, content: str) -> None:
    """Keep a section of a run's report; the same order and name again replaces it.

    Args:
        store: where to.
        run: letters, digits, dots, dashes and underscores.
        order: place in the page, 0..99.
        name: its heading.
        content: HTML, as the functions of ``reports.charts.common`` make it; a whole deck will do.

    Raises:
        UserError: the run's name has other characters.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    body = f"<h2>{html.escape(name)}</h2>{content.replace(STYLE, '')}"
    store.write(f"{_folder(run)}/{order:02d}-{slug}.html", f'<section id="{slug}">{body}</section>'.encode())


def write_report(lake: Lake, run: str, model: str) -> Path:
    """Assemble the report of a run; returns its local copy. A run that was reported keeps its summary.

    Raises:
        UserError: the run's name has characters that a file name should not have.
    """
    folder, chain = _folder(run), f"models/{model}"
    known = lake.ledger.find(chain, f"reported:{run}")
    summary = RunSummary.of(known.payload["summary"]) if known else summarize(lake, run, model)
    page = assemble(lake, run, f"Retraining of {model}", _picture(lake, summary), summary)
    lake.store.write(f"{folder}/report.html", page.encode())
    lake.ledger.append(chain, "reported", f"reported:{run}", {"run": run, "summary": summary.plain()})
    log.info("report of %s: %s", run, summary.outcome)
    return local_copy(lake, run)


def _picture(lake: Lake, summary: RunSummary) -> str:
    if summary.version:
        return as_svg(lineage(lake, summary.version))
    return as_svg(candidate_lineage(lake, summary.model, summary.training_key)) if summary.training_key else ""


def local_copy(lake: Lake, run: str) -> Path:
    """The report as a file under the lake's folder, fetched from the object store."""
    path = lake.settings.folder / "reports" / f"{run}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lake.store.read(f"{_folder(run)}/report.html"))
    return path


def find_summary(lake: Lake, run: str = "") -> RunSummary:
    """What a run came to; the newest run where none is named.

    Raises:
        UnknownName: no such run was reported.
        UserError: none was, ever.
    """
    chains = lake.ledger.chains("models/")
    entries = sorted((e for c in chains for e in lake.ledger.entries(c, kind="reported")), key=lambda e: e.time)
    chosen = [entry for entry in entries if not run or entry.payload["run"] == run]
    if not chosen:
        if not run:
            raise UserError(f"no run of lake {lake.settings.lake} was reported yet; `make run` makes one")
        raise UnknownName("report of a run", run, (entry.payload["run"] for entry in entries))
    return RunSummary.of(chosen[-1].payload["summary"])


def summarize(lake: Lake, run: str, model: str) -> RunSummary:
    """What happened since the last run that was reported, from the ledger."""
    history = lake.ledger.entries(f"models/{model}")
    last = next((e for e in reversed(history) if e.kind == "reported" and e.payload["run"] != run), None)
    new = [entry for entry in history if last is None or entry.seq > last.seq]
    sources = [e for c in lake.ledger.chains("sources/") for e in lake.ledger.entries(c, kind="ingested")]
    arrived = [entry for entry in sources if last is None or entry.time > last.time]
    return RunSummary(
        run=run,
        model=model,
        ended=max((e.time for e in [*new, *arrived]), default=last.time if last else lake.ledger.clock()).isoformat(),
        **account(arrived),
        **_training(new),
    )


def _training(entries: list[Entry]) -> dict[str, Any]:
    last = {entry.kind: entry for entry in entries}
    ends = [entry for entry in entries if entry.kind in ENDS]
    started = {"trained", "judged", "registered"} & set(last)
    told: dict[str, Any] = {"outcome": ends[-1].kind if ends else "unfinished" if started else "nothing_new"}
    if ends:
        told["reason"] = evidence(ends[-1])
    if "trained" in last:
        told["adapter"] = str(last["trained"].payload["adapter_digest"])[:SHORT]
        told["training_key"] = str(last["trained"].payload["training_key"])
    if "registered" in last:
        told["version"] = version_name(last["registered"])
    if "judged" in last:
        told["scores"] = _scores(last["judged"].payload)
    return told


def _scores(judged: dict[str, Any]) -> Scores:
    overall = judged["overall"]
    told: dict[str, Any] = {
        name: float(overall[name]) for name in ("candidate", "baseline", "difference", "low", "high")
    }
    told |= {name: int(overall[name]) for name in ("rows", "users")}
    return Scores(**told, against=judged["baseline"], judgement=judged["judgement"])


def assemble(lake: Lake, run: str, title: str, lineage_svg: str, summary: RunSummary) -> str:
    """The whole page: header, saved sections in order, lineage; no script, nothing fetched, fit to print."""
    keys = [key for key in lake.store.list(f"{_folder(run)}/") if re.fullmatch(r"\d\d-.*\.html", Path(key).name)]
    sections = [lake.store.read(key).decode() for key in keys]
    picture = f"<figure>{lineage_svg}</figure>" if lineage_svg else note("Nothing was trained in this run.")
    sections.append(f'<section id="lineage"><h2>Lineage</h2>{picture}</section>')
    named = re.findall(r'<section id="([^"]*)"><h2>(.*?)</h2>', "".join(sections))
    links = "".join(f'<a href="#{slug}">{name}</a>' for slug, name in named)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{STYLE}{PAGE_STYLE}</head>'
        f'<body><main class="fl">{_header(title, summary)}<nav>{links}</nav>{"".join(sections)}'
        f"<footer>Run {html.escape(run)}, lake {html.escape(lake.settings.lake)}. Made by Fuelline.</footer>"
        "</main></body></html>"
    )


def _header(title: str, summary: RunSummary) -> str:
    word, color = OUTCOMES.get(summary.outcome, (summary.outcome, NEUTRAL))
    when = summary.ended[:16].replace("T", " ")
    reason = f"<p>{html.escape(summary.reason)}</p>" if summary.reason else ""
    cards = "".join(facts(figures) for figures in key_figures(summary) if figures)
    reasons = [{"quarantined because": name, "lines": count} for name, count in summary.reasons.items()]
    return (
        f'<header><p class="when">{when} UTC</p><h1>{html.escape(title)}</h1>'
        f'<p class="verdict"><strong style="background:{color}">{word}</strong> {html.escape(headline(summary))}</p>'
        f"{reason}{cards}{table(reasons) if reasons else ''}</header>"
    )


def headline(summary: RunSummary) -> str:
    """The outcome in one sentence."""
    subject = summary.version or (f"The candidate {summary.adapter}" if summary.adapter else "")
    if not subject:
        return "Nothing was trained." if summary.outcome != "nothing_new" else "There was nothing new to train on."
    if not (scores := summary.scores):
        return f"{subject} was trained, but not judged."
    shown = {
        "better": "is shown better than",
        "worse": "is shown worse than",
        "not_shown_better": "is not shown better than",
        "too_little_data": "was judged on too little data against",
    }
    return f"{subject} {shown.get(scores.judgement, 'was judged against')} {scores.against}."


def key_figures(summary: RunSummary) -> tuple[dict[str, object], dict[str, object]]:
    """What came in, and how the two models scored; the second is empty where none were compared."""
    came: dict[str, object] = {"landed": summary.landed, "committed": summary.committed}
    came |= {"quarantined": summary.quarantined, "duplicates": summary.duplicates}
    if not (scores := summary.scores):
        return came, {}
    return came, {
        f"score of {summary.version or 'the candidate'}": f"{scores.candidate:.3f}",
        f"score of {scores.against}": f"{scores.baseline:.3f}",
        "difference, nats a token": f"{scores.difference:+.3f} [{scores.low:+.3f}, {scores.high:+.3f}]",
        "judged on": f"{scores.rows:,} rows, {scores.users:,} users",
    }


def _folder(run: str) -> str:
    if not RUN_NAME.fullmatch(run):
        raise UserError(f"a run is named in letters, digits, dots, dashes and underscores, not {run!r}")
    return f"reports/{run}"


def _finite(value: float) -> float | str:
    return value if abs(value) != float("inf") else str(value)


PAGE_STYLE = f"""<style>
:root{{color-scheme:light}} body{{margin:0;background:#f6f7f9}}
main.fl{{margin:0 auto;padding:40px 24px 64px}}
h1{{font-size:30px;line-height:1.2;margin:0 0 14px}} .when{{color:{MUTED};margin:0 0 4px}}
.fl header dl{{grid-template-columns:repeat(auto-fit,minmax(200px,1fr));margin:12px 0}}
.verdict{{font-size:18px;margin:0 0 8px}}
.verdict strong{{color:#fff;border-radius:7px;padding:3px 11px;margin-right:6px;font-size:15px}}
nav{{display:flex;flex-wrap:wrap;gap:6px 18px;border-block:1px solid {LINE};padding:12px 0;margin:24px 0}}
nav a{{color:{INK};text-underline-offset:3px}} nav a:hover{{color:#0072b2}}
section{{margin:40px 0}} footer{{color:{MUTED};font:13px {FONT};border-top:1px solid {LINE};padding-top:14px}}
@media print{{body{{background:#fff}} main.fl{{max-width:none;padding:0}} nav{{display:none}}
  .verdict strong{{print-color-adjust:exact}} section{{break-before:auto}}}}
</style>"""
