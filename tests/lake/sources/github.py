"""GitHub's REST API as documented: pages by Link headers, ETags, a limit on the results of a search."""

import hashlib
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tests.lake.sources.peer import Reply, Request

RUNS_LISTED = 1_000


class GitHub:
    """Answers for one repository and one organisation; addresses in Link headers name another host on purpose."""

    def __init__(
        self,
        runs: list[dict[str, Any]] | None = None,
        issues: list[dict[str, Any]] | None = None,
        audit: list[dict[str, Any]] | None = None,
    ) -> None:
        self.runs, self.issues, self.audit = runs or [], issues or [], audit or []
        self.unchanged = 0

    def __call__(self, request: Request) -> Reply:
        assert request.headers["accept"] == "application/vnd.github+json"
        if request.path.endswith("/actions/runs"):
            return self._runs(request)
        if request.path.endswith("/issues"):
            return self._issues(request)
        first, last = request.parameters["phrase"].removeprefix("created:").split("..")
        inside = [entry for entry in self.audit if _ms(first) <= entry["@timestamp"] < _ms(last) + 1000]
        return self._page(request, inside, lambda page: page)

    def _runs(self, request: Request) -> Reply:
        first, last = request.parameters["created"].split("..")
        inside = [run for run in self.runs if first <= run["created_at"] <= last]
        inside.sort(key=lambda run: run["created_at"], reverse=True)
        return self._page(
            request, inside[:RUNS_LISTED], lambda page: {"total_count": len(inside), "workflow_runs": page}
        )

    def _issues(self, request: Request) -> Reply:
        assert (request.parameters["sort"], request.parameters["direction"]) == ("updated", "asc")
        inside = [issue for issue in self.issues if issue["updated_at"] >= request.parameters["since"]]
        return self._page(request, sorted(inside, key=lambda issue: issue["updated_at"]), lambda page: page)

    def _page(self, request: Request, found: list[dict[str, Any]], wrap: Any) -> Reply:
        size, number = int(request.parameters["per_page"]), int(request.parameters.get("page", "1"))
        body = json.dumps(wrap(found[(number - 1) * size : number * size])).encode()
        etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            self.unchanged += 1
            return Reply(status=304)
        headers = {"ETag": etag}
        if number * size < len(found):
            query = urlencode({**request.parameters, "page": number + 1})
            headers["Link"] = f'<https://elsewhere.invalid{request.path}?{query}>; rel="next", <x>; rel="last"'
        return Reply(body, headers=headers)


def _ms(seconds: str) -> int:
    return int(datetime.fromisoformat(seconds).timestamp() * 1000)
