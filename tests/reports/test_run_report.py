"""The report of one run."""

import math
import re
from pathlib import Path

import pytest

from errors import UnknownName, UserError
from lake.lake import Lake
from reports.charts.common import loss_curve
from reports.common.html import deck, note
from reports.run_report import save_section, write_report
from reports.run_summary import RunSummary, find_summary, summarize
from settings import Settings
from tests.world import operated

HOSTILE = "<script>alert('$x$')</script>"


@pytest.fixture
def reported(settings: Settings, tmp_path: Path) -> Lake:
    lake = operated.empty_lake(settings)
    operated.record_training(lake, 1, [operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 3))])
    operated.roll_out(lake, 1)
    return lake


def test_the_page_loads_nothing_is_small_and_has_every_section_in_order(reported: Lake) -> None:
    save_section(reported.store, "run-1", 20, "Training", deck(loss_curve([2.0, 1.0])))
    save_section(reported.store, "run-1", 10, "Quality & rules", note(HOSTILE))
    save_section(reported.store, "run-1", 20, "Training", deck(loss_curve([3.0, 1.0])))
    page = write_report(reported, "run-1", "agents").read_text()
    assert re.findall("<h2>(.*?)</h2>", page) == ["Quality &amp; rules", "Training", "Lineage"]
    assert re.findall(r"<(script|link|iframe|img)|(?:src|href)=\"(?!#)|url\((?!#)|@import", page) == []
    assert len(page) < 2_000_000
    assert page.count(deck("").partition("</style>")[0]) == 1


def test_the_page_has_no_user_data(reported: Lake) -> None:
    page = write_report(reported, "run-1", "agents").read_text()
    assert operated.SECRET_USER not in page
    assert operated.SECRET_TEXT not in page
    assert "user-1" not in page


def test_the_summary_follows_from_the_ledger(reported: Lake) -> None:
    summary = summarize(reported, "run-1", "agents")
    assert (summary.objects, summary.landed, summary.committed, summary.quarantined) == (3, 181, 177, 4)
    assert summary.reasons == {"latency_out_of_range": 3, "malformed_json": 1}
    assert (summary.version, summary.outcome) == ("agents@v1", "promoted")
    assert summary.scores
    assert (summary.scores.difference, summary.scores.against) == (-0.312, "base")


def test_a_second_run_reports_only_new_events_and_the_first_report_stays_the_same(
    reported: Lake, tmp_path: Path
) -> None:
    first = write_report(reported, "run-1", "agents").read_text()
    operated.ingest(reported, operated.write_logs(tmp_path / "later", 3, 1))
    write_report(reported, "run-2", "agents")
    later = find_summary(reported)
    assert (later.run, later.landed, later.outcome, later.version) == ("run-2", 61, "nothing_new", "")
    assert find_summary(reported, "run-1").landed == 181
    assert write_report(reported, "run-1", "agents").read_text() == first
    assert len(reported.ledger.entries("models/agents", kind="reported")) == 2


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("not_registered", {"training_key": "k", "judgement": "worse", "reason": "worse than base"}, "worse than base"),
        ("retraining_failed", {"stage": "train", "execution": "e-7", "baseline": "base"}, "in train, execution e-7"),
        (
            "retraining_failed",
            {
                "stage": "train_adapter",
                "attempts": 4,
                "error": "SYSTEM::OOMKilled",
                "outcome": "aborted",
                "execution": "e",
            },
            "aborted, in train_adapter, after 4 attempts, execution e: SYSTEM::OOMKilled",
        ),
        ("retraining_failed", {"stage": "", "execution": "e-7"}, "in an unknown stage, execution e-7"),
    ],
)
def test_a_run_without_a_version_shows_the_reason(lake: Lake, kind: str, payload: dict[str, str], reason: str) -> None:
    lake.ledger.append("models/agents", kind, kind, payload)
    page = write_report(lake, "run-1", "agents").read_text()
    assert (find_summary(lake).outcome, find_summary(lake).reason) == (kind, reason)
    assert reason in page
    assert "Nothing was trained in this run." in page


def test_a_candidate_that_was_not_registered_has_its_lineage_in_the_report(lake: Lake, tmp_path: Path) -> None:
    interactions = operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 1))
    operated.record_training(lake, 1, [interactions], registered=False)
    page = write_report(lake, "run-1", "agents").read_text()
    picture = page[page.index('id="lineage"') :]
    for part in ("Candidate 3f9c2a71", "Not registered", "processed.agent_interactions", "Base model"):
        assert part in picture


def test_a_summary_with_an_unbounded_interval_is_stored_and_read(reported: Lake) -> None:
    payload = next(e.payload for e in reported.ledger.entries("models/agents", kind="judged"))
    unbounded = payload | {"overall": payload["overall"] | {"low": "-Infinity", "high": "Infinity"}}
    reported.ledger.append("models/agents", "judged", "judged:again", unbounded)
    summary = summarize(reported, "run-1", "agents")
    assert summary.scores
    assert summary.scores.high == math.inf
    assert RunSummary.of(summary.plain()) == summary
    write_report(reported, "run-1", "agents")
    assert find_summary(reported) == summary


def test_a_run_name_that_is_no_file_name_is_refused(lake: Lake) -> None:
    with pytest.raises(UserError, match="letters, digits"):
        save_section(lake.store, "../elsewhere", 1, "Training", "")


def test_an_unknown_run_is_reported_with_the_nearest(reported: Lake) -> None:
    write_report(reported, "run-1", "agents")
    with pytest.raises(UnknownName, match="did you mean 'run-1'"):
        find_summary(reported, "run-11")


def test_a_report_on_s3_has_a_local_copy(s3_lake: Lake) -> None:
    save_section(s3_lake.store, "run-1", 10, "Quality", note("fine"))
    path = write_report(s3_lake, "run-1", "agents")
    assert path == s3_lake.settings.folder / "reports" / "run-1.html"
    assert path.read_bytes() == s3_lake.store.read("reports/run-1/report.html")
