"""Workflow runs, issues and the audit log of GitHub: https://docs.github.com/en/rest

A page that was read before is asked for with its ETag; GitHub answers 304 where nothing has changed, and such an answer
costs nothing of the quota. So to read again what may have come late is nearly free. Of a next page only the query is
taken, never the address: the token goes to no other host.

A run or an issue changes. Each state in which it was seen is a row, by the time of the change.
"""

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from errors import SourceError
from lake.sources.http_client import Answer, Parameters
from lake.sources.query import SECOND, Fetching, Row, digest, halves, iso
from lake.windows import Window

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE = 100
RUNS_MAX = 1_000
"""GitHub lists no more runs than this for one search, however many it counts."""
NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
SECONDS = "%Y-%m-%dT%H:%M:%SZ"


def run_rows(fetching: Fetching) -> Iterator[Row]:
    """Every run that was created in the window, in its present state."""
    yield from _runs(fetching, fetching.window)


def _runs(fetching: Fetching, window: Window) -> Iterator[Row]:
    path, repository = f"/repos/{fetching.query.text}/actions/runs", fetching.query.text
    span = _created(window)
    for page in _pages(fetching, path, [("created", span), ("per_page", str(PAGE))]):
        if page["total_count"] > RUNS_MAX:
            if window.end - window.start <= 2 * SECOND:
                raise SourceError(f"{fetching.remote}: {repository} has more than {RUNS_MAX} runs in {span}")
            for half in halves(window):
                yield from _runs(fetching, half)
            return
        for run in page["workflow_runs"]:
            yield _run(repository, run)


def _run(repository: str, run: dict[str, Any]) -> Row:
    return {
        "repository": repository,
        "run_id": run["id"],
        "attempt": run.get("run_attempt", 1),
        "updated_at": run["updated_at"],
        "timestamp": run["created_at"],
        "started_at": run.get("run_started_at"),
        "workflow": run.get("name"),
        "event": run.get("event"),
        "branch": run.get("head_branch"),
        "commit": run.get("head_sha"),
        "status": run["status"],
        "conclusion": run.get("conclusion"),
        "actor": _login(run.get("actor")),
    }


def issue_rows(fetching: Fetching) -> Iterator[Row]:
    """Every issue and pull request that was changed last in the window.

    The next page begins at the last change of the page before, not at a page number: an issue that is changed while
    its page is read moves to the end, and by numbers another would slip through the gap.
    """
    path, repository = f"/repos/{fetching.query.text}/issues", fetching.query.text
    since, end = _from(fetching.window), fetching.window.end.astimezone(UTC).strftime(SECONDS)
    seen: set[tuple[int, str]] = set()
    while True:
        asked = [("state", "all"), ("sort", "updated"), ("direction", "asc"), ("since", since), ("per_page", str(PAGE))]
        page = fetching.remote.decode(path, fetching.remote.get(path, asked, headers=HEADERS).body)
        inside = [issue for issue in page if issue["updated_at"] < end]
        yield from (_issue(repository, one) for one in inside if (one["number"], one["updated_at"]) not in seen)
        if len(inside) < PAGE:
            return
        last = inside[-1]["updated_at"]
        if last == since:
            raise SourceError(f"{fetching.remote}: {repository} has {PAGE} issues or more that changed at {since}")
        seen = {(one["number"], one["updated_at"]) for one in inside}
        since = last


def _issue(repository: str, issue: dict[str, Any]) -> Row:
    return {
        "repository": repository,
        "number": issue["number"],
        "timestamp": issue["updated_at"],
        "created_at": issue["created_at"],
        "closed_at": issue.get("closed_at"),
        "pull_request": "pull_request" in issue,
        "state": issue["state"],
        "state_reason": issue.get("state_reason"),
        "title": issue["title"],
        "labels": json.dumps(sorted(label["name"] for label in issue.get("labels", ()))),
        "comments": issue.get("comments"),
        "actor": _login(issue.get("user")),
    }


def audit_rows(fetching: Fetching) -> Iterator[Row]:
    """Every entry of an organisation's audit log in the window."""
    path, span = f"/orgs/{fetching.query.text}/audit-log", f"created:{_created(fetching.window)}"
    asked = [("phrase", span), ("include", "all"), ("order", "asc"), ("per_page", str(PAGE))]
    for page in _pages(fetching, path, asked):
        for entry in page:
            at = entry.get("@timestamp")
            yield {
                "document_id": entry.get("_document_id"),
                "timestamp": iso(at / 1000) if isinstance(at, int | float) else at,
                "organisation": fetching.query.text,
                "action": entry.get("action"),
                "actor": entry.get("actor"),
                "repository": entry.get("repo"),
                "subject": entry.get("user"),
            }


def _pages(fetching: Fetching, path: str, parameters: Parameters) -> Iterator[Any]:
    """Each page, decoded; pages that have not changed since they were read are left out."""
    following: Parameters | None = parameters
    while following is not None:
        name = digest(path, urlencode(following))
        known, _, stated = fetching.cursor.get(name, "").partition("\n")
        headers = {**HEADERS, **({"If-None-Match": known} if known else {})}
        answer = fetching.remote.get(path, following, headers=headers, expected=(200, 304))
        if answer.status == 200:
            stated = _next(answer)
            yield fetching.remote.decode(path, answer.body)
            if etag := answer.headers.get("etag"):
                fetching.cursor[name] = f"{etag}\n{stated}"
        following = parse_qsl(stated) if stated else None


def _next(answer: Answer) -> str:
    """The next page's query; empty after the last page."""
    found = NEXT.search(answer.headers.get("link", ""))
    return urlsplit(found[1]).query if found else ""


def _created(window: Window) -> str:
    """The window as GitHub's search has it: whole seconds, both ends included."""
    last = datetime.fromtimestamp(math.ceil(window.end.timestamp()) - 1, UTC)
    return f"{_from(window)}..{last.strftime(SECONDS)}"


def _from(window: Window) -> str:
    return datetime.fromtimestamp(math.ceil(window.start.timestamp()), UTC).strftime(SECONDS)


def _login(user: dict[str, Any] | None) -> str | None:
    return user.get("login") if user else None
