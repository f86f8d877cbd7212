"""The report of a run: one page with all its decks, the verdict and the picture of its lineage."""

from models.types import Verdict
from tasks.environments import cpu
from tasks.runtime import execution, lake


@cpu(enable_deck=False)
def write_run_report(verdict: Verdict) -> str:
    """Assemble the page; returns where it stands."""
    from reports.run_report import write_report

    return str(write_report(lake(), execution(), verdict.model))
