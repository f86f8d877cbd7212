"""Workflow runs, issues and the audit log of GitHub: https://docs.github.com/en/rest

A page that was read before is requested with its ETag; GitHub answers 304 where nothing has changed, which does not
count against the quota. So reading again for late data costs almost nothing. Of the link to the next page only the
query is used, never the address: the token goes to no other host.

A run or an issue changes. Each state that was seen is a row, with the time of the change.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from errors import SourceError
from lake.sources.query import SECOND, Row, WindowQuery, digest, halves, iso
from lake.sources.response_log import Parameters
from lake.windows import Window

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE = 100
RUNS_MAX = 1_000
"""GitHub lists at most this many runs for one search, whatever its total count."""
NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
SECONDS = "%Y-%m-%dT%H:%M:%SZ"


def run_rows(request: WindowQuery) -> Iterator[Row]:
    """Every run that was created in the window, in its current state."""
    window, repository, span = request.window, request.text, _created(request.window)
    for page in _pages(request, f"/repos/{repository}/actions/runs", {"created": span, "per_page": PAGE}):
        if page["total_count"] > RUNS_MAX:
            if window.end - window.start <= 2 * SECOND:
                raise SourceError(f"{request.client}: {repository} has more than {RUNS_MAX} runs in {span}")
            for half in halves(window):
                yield from run_rows(replace(request, window=half))
            return
        yield from (_run(repository, run) for run in page["workflow_runs"])


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


def issue_rows(request: WindowQuery) -> Iterator[Row]:
    """Every issue and pull request whose last change is in the window.

    The next page begins at the last change of the page before and not at a page number: an issue that changes while
    the pages are read moves to the end, and by page numbers another one would be missed.
    """
    path, repository = f"/repos/{request.text}/issues", request.text
    since, end = _from(request.window), request.window.end.astimezone(UTC).strftime(SECONDS)
    seen: set[tuple[int, str]] = set()
    while True:
        query: Parameters = {"state": "all", "sort": "updated", "direction": "asc", "since": since, "per_page": PAGE}
        page = request.client.decode(path, request.client.get(path, query, headers=HEADERS).body)
        inside = [issue for issue in page if issue["updated_at"] < end]
        yield from (_issue(repository, issue) for issue in inside if _version(issue) not in seen)
        if len(inside) < PAGE:
            return
        last = inside[-1]["updated_at"]
        if last == since:
            raise SourceError(f"{request.client}: {repository} has {PAGE} issues or more that changed at {since}")
        seen = {_version(issue) for issue in inside}
        since = last


def _version(issue: dict[str, Any]) -> tuple[int, str]:
    return issue["number"], issue["updated_at"]


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


def audit_rows(request: WindowQuery) -> Iterator[Row]:
    """Every entry of an organisation's audit log in the window."""
    phrase = f"created:{_created(request.window)}"
    parameters: Parameters = {"phrase": phrase, "include": "all", "order": "asc", "per_page": PAGE}
    for page in _pages(request, f"/orgs/{request.text}/audit-log", parameters):
        for entry in page:
            time = entry.get("@timestamp")
            yield {
                "document_id": entry.get("_document_id"),
                "timestamp": iso(time / 1000) if isinstance(time, int | float) else time,
                "organisation": request.text,
                "action": entry.get("action"),
                "actor": entry.get("actor"),
                "repository": entry.get("repo"),
                "subject": entry.get("user"),
            }


def _pages(request: WindowQuery, path: str, parameters: Parameters) -> Iterator[Any]:
    """Each page, decoded; pages that have not changed since they were read are skipped."""
    while parameters:
        name = digest(path, urlencode(parameters))
        known, _, next_query = request.cursor.get(name, "").partition("\n")
        headers = {**HEADERS, **({"If-None-Match": known} if known else {})}
        response = request.client.get(path, parameters, headers=headers, expected=(200, 304))
        if response.status == 200:
            link = NEXT.search(response.headers.get("link", ""))
            next_query = urlsplit(link[1]).query if link else ""
            yield request.client.decode(path, response.body)
            if etag := response.headers.get("etag"):
                request.cursor[name] = f"{etag}\n{next_query}"
        parameters = dict(parse_qsl(next_query))


def _created(window: Window) -> str:
    """The window in GitHub's search syntax: whole seconds, both ends included."""
    last = datetime.fromtimestamp(math.ceil(window.end.timestamp()) - 1, UTC)
    return f"{_from(window)}..{last.strftime(SECONDS)}"


def _from(window: Window) -> str:
    return datetime.fromtimestamp(math.ceil(window.start.timestamp()), UTC).strftime(SECONDS)


def _login(user: dict[str, Any] | None) -> str | None:
    return user.get("login") if user else None
