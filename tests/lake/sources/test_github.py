"""Workflow runs, issues and the audit log, by GitHub's documented answers over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from errors import PeerError, SourceError
from lake.contracts import contract
from lake.lake import Lake
from lake.sources.pull import pull_chunk, pull_window
from lake.sources.selection import Selection
from lake.windows import Window
from tests.conftest import free_port
from tests.lake.sources.conftest import Reader
from tests.lake.sources.github import GitHub
from tests.lake.sources.peer import Peer, Reply, Request

START = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = Window(start=START, end=START + DAY)
REPOSITORY = "homelab/agents"
Pointed = Callable[..., Lake]


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def run(number: int, created_s: float, **changes: Any) -> dict[str, Any]:
    usual = {"id": 10_000_000_000 + number, "run_attempt": 1, "name": "ci", "event": "push", "head_branch": "main"}
    done = {"status": "completed", "conclusion": "success", "head_sha": "9a6ac6e", "actor": {"login": "anna"}}
    times = {"created_at": at(created_s), "updated_at": at(created_s + 60), "run_started_at": at(created_s + 1)}
    return {**usual, **done, **times, **changes}


def issue(number: int, updated_s: float, **changes: Any) -> dict[str, Any]:
    usual = {"number": number, "title": f"issue {number}", "state": "open", "comments": 0, "user": {"login": "ben"}}
    return {
        **usual,
        "labels": [{"name": "b"}, {"name": "a"}],
        "created_at": at(0),
        "updated_at": at(updated_s),
        **changes,
    }


def selection(data_set: str, query: str = REPOSITORY, **changes: Any) -> Selection:
    usual: dict[str, Any] = {"queries": {"agents": query}, "chunk_minutes": 1440, "settle_s": 0}
    return Selection(data_set=f"processed.{data_set}", **(usual | changes))


def table(lake: Lake, data_set: str) -> pa.Table:
    version = lake.tables.current(contract(f"processed.{data_set}"))
    assert version
    return lake.tables.read(version)


@pytest.fixture
def pulled_lake(peer: Peer, pointed: Pointed) -> Lake:
    return pointed(github=f"cloud={peer.url}", github_token=SecretStr("cloud=ghp_secret"))


def test_runs_are_read_page_by_page_and_never_from_the_host_of_a_link(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    peer.answer = GitHub([run(number, number * 60) for number in range(250)])
    [done] = pull_chunk(pulled_lake, selection("workflow_runs"), WINDOW, connect=reader)
    assert (done.committed, done.requests, done.faults) == (250, 3, {})
    assert {request.headers["authorization"] for request in peer.requests} == {"Bearer ghp_secret"}
    row = table(pulled_lake, "workflow_runs").to_pylist()[0]
    assert (row["repository"], row["workflow"], row["conclusion"], row["actor"]) == (
        REPOSITORY,
        "ci",
        "success",
        "anna",
    )


def test_more_runs_than_a_search_lists_are_requested_in_parts(pulled_lake: Lake, peer: Peer, reader: Reader) -> None:
    peer.answer = GitHub([run(number, number * 30) for number in range(2_700)])
    [done] = pull_chunk(pulled_lake, selection("workflow_runs"), WINDOW, connect=reader)
    assert (done.committed, done.duplicates) == (2_700, 0)
    peer.answer = GitHub([run(number, 5) for number in range(1_001)])
    with pytest.raises(SourceError, match="more than 1000 runs in"):
        pull_chunk(pulled_lake, selection("workflow_runs"), Window(start=START, end=START + DAY / 2), connect=reader)


def test_each_state_of_a_run_is_a_row_and_unchanged_pages_are_not_sent_again(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    running = run(1, 3600, status="in_progress", conclusion=None, updated_at=at(3700))
    github = GitHub([running, run(2, 60)])
    peer.answer = github
    chosen = selection("workflow_runs", lateness_minutes=3 * 1440)
    first = pull_window(pulled_lake, chosen, WINDOW, connect=reader)
    assert sum(window.committed for window in first) == 2
    second = pull_window(pulled_lake, chosen, Window(start=START + DAY, end=START + 2 * DAY), connect=reader)
    assert sum(window.landed for window in second) == 0
    assert github.unchanged > 0
    github.runs[0] = run(1, 3600, updated_at=at(3 * 86_400))
    third = pull_window(pulled_lake, chosen, Window(start=START + 2 * DAY, end=START + 3 * DAY), connect=reader)
    assert sum(window.committed for window in third) == 1
    states = [(row["run_id"] % 10, row["status"]) for row in table(pulled_lake, "workflow_runs").to_pylist()]
    assert sorted(states) == [(1, "completed"), (1, "in_progress"), (2, "completed")]


def test_a_changed_second_page_after_an_unchanged_first_one_is_read(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    github = GitHub([run(number, number * 60) for number in range(150)])
    peer.answer = github
    chosen = selection("workflow_runs", lateness_minutes=2 * 1440)
    pull_window(pulled_lake, chosen, WINDOW, connect=reader)
    github.runs[3] = run(3, 180, run_attempt=2, updated_at=at(90_000))
    second = pull_window(pulled_lake, chosen, Window(start=START + DAY, end=START + 2 * DAY), connect=reader)
    assert sum(window.committed for window in second) == 1
    assert github.unchanged > 0


def test_an_issue_that_moves_while_pages_are_read_does_not_hide_another(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    github = GitHub(issues=[issue(number, number * 60) for number in range(1, 251)])

    def moving(request: Request) -> Reply:
        reply = github(request)
        if len(peer.requests) == 1:
            github.issues[5] = issue(6, 80_000, state="closed")
        return reply

    peer.answer = moving
    [done] = pull_chunk(pulled_lake, selection("github_issues"), WINDOW, connect=reader)
    rows = table(pulled_lake, "github_issues").to_pylist()
    assert {row["number"] for row in rows} == set(range(1, 251))
    assert sorted(row["state"] for row in rows if row["number"] == 6) == ["closed", "open"]
    assert (done.committed, done.duplicates) == (251, 0)


def test_issues_and_pull_requests_are_distinguished_and_the_window_end_is_exclusive(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    peer.answer = GitHub(issues=[issue(1, 60), issue(2, 120, pull_request={"url": "x"}), issue(3, 86_400)])
    pull_chunk(pulled_lake, selection("github_issues"), WINDOW, connect=reader)
    rows = table(pulled_lake, "github_issues").sort_by("number").to_pylist()
    assert [(row["number"], row["pull_request"]) for row in rows] == [(1, False), (2, True)]
    assert rows[0]["labels"] == '["a", "b"]'


def test_the_audit_log_is_read_with_its_milliseconds(pulled_lake: Lake, peer: Peer, reader: Reader) -> None:
    begin = int(START.timestamp() * 1000)
    log = [
        {"@timestamp": begin + 1234 * number, "_document_id": f"d{number}", "action": "repo.access", "actor": "anna"}
        for number in range(130)
    ]
    log.append({"@timestamp": "soon", "_document_id": "odd", "action": "x"} | {"@timestamp": begin + 5})
    log.append({"@timestamp": begin + 7, "action": "team.add_member"})
    peer.answer = GitHub(audit=log)
    [done] = pull_chunk(pulled_lake, selection("github_audit", "homelab"), WINDOW, connect=reader)
    assert (done.committed, done.reasons) == (131, {"null_required": 1})
    times = set(table(pulled_lake, "github_audit")["timestamp"].to_pylist())
    assert START + timedelta(milliseconds=1234) in times


def test_a_spent_quota_is_waited_for_and_duplicates_are_committed_once(
    pulled_lake: Lake, peer: Peer, reader: Reader
) -> None:
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(datetime.now(UTC).timestamp()) + 30)}
    twice = run(1, 60)
    peer.answer = GitHub([twice, twice, run(2, 30)])
    peer.script = [
        Reply(status=403, headers=spent),
        Reply(status=429, headers={"Retry-After": "2"}),
        Reply(status=502),
        Reply(b"{}", cut=1),
    ]
    reader.limits = replace(reader.limits, tries=5)
    [done] = pull_chunk(pulled_lake, selection("workflow_runs"), WINDOW, connect=reader)
    assert (done.committed, done.duplicates) == (2, 1)
    assert done.faults == {"403": 1, "429": 1, "502": 1, "truncated": 1}


def test_an_unreadable_response_fails_the_pull(pulled_lake: Lake, pointed: Pointed, peer: Peer, reader: Reader) -> None:
    reader.limits = replace(reader.limits, read_s=0.2, tries=2)
    with pytest.raises(PeerError, match="at last: down"):
        pull_chunk(
            pointed(github=f"cloud=http://127.0.0.1:{free_port()}"), selection("workflow_runs"), WINDOW, connect=reader
        )
    for reply, error, words in (
        (Reply(late_s=9), PeerError, "at last: timeout"),
        (Reply(status=401), SourceError, "FUELLINE_GITHUB_TOKEN"),
        (Reply(b'{"message":"Not Found"}', status=404), SourceError, r"\(404\): Not Found"),
        (Reply(b'{"workflow_runs":'), PeerError, "not JSON"),
        (Reply(b'{"message":"hello"}'), PeerError, "another form"),
    ):
        peer.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        with pytest.raises(error, match=words):
            pull_chunk(pulled_lake, selection("workflow_runs"), WINDOW, connect=reader)
    assert pulled_lake.ledger.entries("sources/github-cloud") == []
