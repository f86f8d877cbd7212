"""The report of one run: one HTML page that needs nothing else, with the run's outcome, its decks and its lineage.

Each stage saves its section when it finishes; the page is assembled at the end.
"""

import logging
import re
from pathlib import Path

from errors import UserError
from lake.lake import Lake
from lake.store.objects import ObjectStore
from models.registry.kinds import REPORTED, model_chain
from reports.common.html import facts, joined, note, render, section, style, table
from reports.common.ledger_text import minute
from reports.lineage.build import candidate_lineage, lineage
from reports.lineage.render import as_svg
from reports.run_summary import RunSummary, headline, key_figures, summarize

log = logging.getLogger("fuelline.report")

HEADING = re.compile(r'<section id="([^"]*)"><h2>(.*?)</h2>')
OUTCOMES = {
    "promoted": ("Promoted", "good"),
    "rejected": ("Rejected", "bad"),
    "rolled_back": ("Rolled back", "bad"),
    "inconclusive": ("Inconclusive", "unsure"),
    "not_registered": ("Not registered", "unsure"),
    "retraining_failed": ("Failed", "bad"),
    "unfinished": ("Unfinished", "neutral"),
    "nothing_new": ("Nothing new", "neutral"),
    "rollout_opened": ("Rolling out", "unsure"),
}
"""Word and CSS class of each outcome."""


def save_section(store: ObjectStore, run: str, order: int, name: str, content: str) -> None:
    """Save a section of a run's report; one of the same order (place in the page, 0..99) and name is replaced.

    Its content is HTML, as the functions of ``reports.common.html`` and ``reports.charts`` make it, or a whole deck.
    Raises ``UserError`` where the run's name is not of letters, digits, dots, dashes and underscores.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    body = section(slug, name, content.replace(style("style.css"), ""))
    store.write(f"{_folder(run)}/{order:02d}-{slug}.html", body.encode())


def write_report(lake: Lake, run: str, model: str) -> Path:
    """Assemble the report of a run; returns its local copy. A run that was reported before keeps its summary."""
    chain, key = model_chain(model), f"reported:{run}"
    known = lake.ledger.find(chain, key)
    summary = RunSummary.of(known.payload["summary"]) if known else summarize(lake, run, model)
    lake.store.write(f"{_folder(run)}/report.html", _page(lake, summary).encode())
    lake.ledger.append(chain, REPORTED, key, {"run": run, "summary": summary.plain()})
    log.info("report of %s: %s", run, summary.outcome)
    return local_copy(lake, run)


def local_copy(lake: Lake, run: str) -> Path:
    """The report as a file in the lake's folder, fetched from the object store."""
    path = lake.settings.folder / "reports" / f"{run}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lake.store.read(f"{_folder(run)}/report.html"))
    return path


def _page(lake: Lake, summary: RunSummary) -> str:
    """The whole page: header, saved sections in order, lineage. It has no script and loads nothing."""
    folder = f"{_folder(summary.run)}/"
    keys = [key for key in lake.store.list(folder) if re.fullmatch(r"\d\d-.*\.html", Path(key).name)]
    drawn: str = note("Nothing was trained in this run.")
    if summary.version:
        drawn = f"<figure>{as_svg(lineage(lake, summary.version))}</figure>"
    elif summary.training_key:
        drawn = f"<figure>{as_svg(candidate_lineage(lake, summary.model, summary.training_key))}</figure>"
    sections = [joined([lake.store.read(key).decode()]) for key in keys] + [section("lineage", "Lineage", drawn)]
    outcome, tone = OUTCOMES.get(summary.outcome, (summary.outcome, "neutral"))
    cards = [facts(figures) for figures in key_figures(summary) if figures]
    reasons = [{"quarantined because": name, "lines": count} for name, count in summary.reasons.items()]
    return render(
        "run_report.html",
        title=f"Retraining of {summary.model}",
        styles=(),
        when=f"{minute(summary.ended)} UTC",
        outcome=outcome,
        tone=tone,
        headline=headline(summary),
        reason=summary.reason,
        cards=[*cards, table(reasons)] if reasons else cards,
        links=[(slug, joined([name])) for slug, name in HEADING.findall(joined(sections))],
        sections=sections,
        footer=f"Run {summary.run}, lake {lake.settings.lake}.",
    )


def _folder(run: str) -> str:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", run):
        raise UserError(f"a run is named in letters, digits, dots, dashes and underscores, not {run!r}")
    return f"reports/{run}"
