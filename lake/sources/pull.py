"""Pulling: a window of a server's data becomes a file of rows, and the file is ingested like every other file.

So landing, checks, quarantine, duplicates and counts are those of ``lake.ingest.pipeline``. A finished window has an
entry in the source's chain in the ledger, keyed by cluster, queries and window, and no run requests it again. If a pull
was killed, what it had landed is ingested first; then it requests again, and rows that are known count as duplicates.

Data are late, and clocks are wrong. A run ends its window ``settle_s`` before its scheduled time, because newer data
may be incomplete, and reads again up to ``lateness_minutes`` before its window: only the new rows of that are
committed, each in the partition of its own time. A row from the future is quarantined. A server that is down does not
prevent the others from being read, but it fails the run in the end, and its windows remain due.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from errors import PeerError, UnknownName
from lake.contracts import contract
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake
from lake.sources.http_client import HttpClient, Limits
from lake.sources.query import WindowQuery
from lake.sources.registry import pull_source
from lake.sources.response_log import SUFFIX, ResponseLog
from lake.sources.selection import Pulled, Selection
from lake.store.ledger import Ledger
from lake.windows import BEGINNING, Window
from settings import Endpoint

log = logging.getLogger("fuelline.sources")

TRANSLATION_VERSION = 1
"""Part of every window's key. Increase it when the same responses give other rows."""
PULLED = "pulled"
"""Kind of the ledger entry of a finished window."""

Connect = Callable[[Endpoint], HttpClient]


def connect(endpoint: Endpoint) -> HttpClient:
    """A client of a server, with at most twenty requests a second."""
    return HttpClient(endpoint, Limits(between_s=0.05))


def source_name(endpoint: Endpoint) -> str:
    """The name of a server as a source: of its chain in the ledger, its raw objects and its watermark."""
    return f"{endpoint.peer}-{endpoint.cluster}"


def pull_window(lake: Lake, selection: Selection, due: Window, *, connect: Connect = connect) -> list[Pulled]:
    """Pull what a scheduled run has to: its window, less the settling time, and the time before it for late data.

    Raises:
        PeerError: a server failed; everything else has been pulled.
        SettingsError: no server of this kind is set.
        UnknownName: no such data set or cluster.
    """
    settle = timedelta(seconds=selection.settle_s)
    start = due.start if due.start > BEGINNING else due.end - timedelta(hours=selection.first_hours)
    fresh = Window(start=start - settle, end=due.end - settle)
    again: list[tuple[Window, datetime]] = []
    if selection.lateness_minutes and pull_source(selection.data_set).windowed:
        length = timedelta(minutes=selection.chunk_minutes)
        late = fresh.start - timedelta(minutes=selection.lateness_minutes)
        late -= (late - BEGINNING) % length  # whole chunks, so that the next run requests the same ones
        again = [(chunk, fresh.end) for chunk in chunks(late, fresh.start, length)]
    return _pull_all(lake, selection, [*again, *_todo(selection, fresh)], connect)


def pull_chunk(lake: Lake, selection: Selection, chunk: Window, *, connect: Connect = connect) -> list[Pulled]:
    """Pull exactly one window, for a back-fill. Raises what ``pull_window`` raises."""
    return _pull_all(lake, selection, _todo(selection, chunk), connect)


def chunks(start: datetime, end: datetime, length: timedelta) -> Iterator[Window]:
    """A span in windows that end at whole multiples of ``length`` since 1970, so that overlapping spans share them."""
    while start < end:
        boundary = BEGINNING + ((start - BEGINNING) // length + 1) * length
        yield Window(start=start, end=min(boundary, end))
        start = boundary


def _todo(selection: Selection, window: Window) -> list[tuple[Window, datetime]]:
    """The chunks of a window, or itself where the source is not windowed, each as of its own end."""
    if not pull_source(selection.data_set).windowed:
        return [(window, window.end)]
    length = timedelta(minutes=selection.chunk_minutes)
    return [(chunk, chunk.end) for chunk in chunks(window.start, window.end, length)]


def _pull_all(
    lake: Lake, selection: Selection, todo: Sequence[tuple[Window, datetime]], connect: Connect
) -> list[Pulled]:
    """Every window from every server. ``todo``: windows, each with the time as of which it is read."""
    known = {endpoint.cluster: endpoint for endpoint in lake.settings.endpoints(pull_source(selection.data_set).peer)}
    if unknown := [name for name in selection.clusters if name not in known]:
        raise UnknownName("cluster", unknown[0], known)
    done: list[Pulled] = []
    failed: list[PeerError] = []
    for name in selection.clusters or known:
        ingester = Ingester(lake, contract(selection.data_set), source_name(known[name]))
        pull = _ServerPull(ingester=ingester, selection=selection, client=connect(known[name]))
        try:
            with ingester.finishing_landed():
                done += [pull.window(window, as_of) for window, as_of in todo]
        except PeerError as error:
            log.warning("%s", error)
            failed.append(error)
    if failed:
        rows = sum(window.committed for window in done)
        causes = "; ".join(map(str, failed))
        raise PeerError(f"{causes} ({rows} rows of the other servers are committed)") from failed[0]
    return done


@dataclass(frozen=True, kw_only=True)
class _ServerPull:
    """The pull of one selection from one server."""

    ingester: Ingester
    selection: Selection
    client: HttpClient

    @property
    def ledger(self) -> Ledger:
        return self.ingester.lake.ledger

    @property
    def chain(self) -> str:
        return self.ingester.raw_zone.chain

    def window(self, window: Window, as_of: datetime) -> Pulled:
        """One window, all queries in one commit, unless the ledger says that it is done."""
        span = f"{window.start.isoformat()}:{window.end.isoformat()}:"
        key = f"{self._key_prefix()}{span}{as_of.isoformat()}"
        if entry := self.ledger.find(self.chain, key):
            return Pulled(**entry.payload, new=False)
        requests, faults = self.client.requests, Counter(self.client.faults)
        queries = self._queries(window, span)
        ingested, responses = self._ingest(queries)
        result = Pulled(
            source=self.ingester.source,
            queries=[query.name for query in queries],
            start=window.start.isoformat(),
            end=window.end.isoformat(),
            **self._counts(ingested),
            answers=responses,
            requests=self.client.requests - requests,
            faults=dict(self.client.faults - faults),
            skew_s=self.client.skew_s,
            cursor={query.name: query.cursor for query in queries if query.cursor},
        )
        payload = {name: value for name, value in asdict(result).items() if name != "new"}
        self.ledger.append(self.chain, PULLED, key, payload)
        progress = (result.source, self.selection.data_set, result.end, result.committed)
        log.info("%s: %s up to %s: %d rows committed", *progress)
        return result

    def _key_prefix(self) -> str:
        """The part of a window's key before the window: everything else that changes its rows."""
        declared = self.ingester.contract
        queries = json.dumps([sorted(self.selection.queries.items()), self.selection.step_s])
        digest = hashlib.sha256(queries.encode()).hexdigest()[:16]
        return f"{PULLED}:{declared.name}:v{declared.version}:t{TRANSLATION_VERSION}:{digest}:"

    def _queries(self, window: Window, span: str) -> list[WindowQuery]:
        """The queries in order of their names, each with the cursor of its newest pull: of this very window where the
        server can be queried for windows, else of any window, because the server only continues from there.
        """
        prefix = self._key_prefix() + (span if pull_source(self.selection.data_set).windowed else "")
        before = [entry for entry in self.ledger.entries(self.chain, kind=PULLED) if entry.key.startswith(prefix)]
        cursors: Mapping[str, Mapping[str, str]] = before[-1].payload["cursor"] if before else {}
        return [
            WindowQuery(
                client=self.client,
                name=name,
                text=text,
                window=window,
                step_s=self.selection.step_s,
                cursor=dict(cursors.get(name, {})),
            )
            for name, text in sorted(self.selection.queries.items())
        ]

    def _ingest(self, queries: Sequence[WindowQuery]) -> tuple[Ingested | None, str]:
        """Ingest the rows of the window as a file; also returns the key of the recorded responses.

        None where there are no rows, and an empty key where all rows are known: late data are looked for many times,
        and responses without new rows are not kept again.
        """
        with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
            path, responses = Path(folder, "rows.jsonl"), Path(folder, "answers")
            with contextlib.closing(ResponseLog(responses)) as self.client.responses:
                self._write(path, queries)
            if not path.stat().st_size:
                return None, ""
            known = self.ingester.is_ingested(path)
            key = "" if known else self.ingester.raw_zone.keep_beside(responses, SUFFIX)
            return self.ingester.ingest_file(path), key

    def _write(self, path: Path, queries: Sequence[WindowQuery]) -> None:
        """Write the rows of the queries, one line each. Raises ``PeerError`` where a response has another form than the
        server's API documents.
        """
        rows = itertools.chain.from_iterable(map(pull_source(self.selection.data_set).rows, queries))
        try:
            with path.open("wb") as file:
                for row in rows:
                    line = row if isinstance(row, bytes) else json.dumps(row, separators=(",", ":")).encode()
                    file.write(line + b"\n")
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            # from None: the error may quote the response, and with it a user's text
            problem = f"{type(error).__name__} while it was read"
            raise PeerError(f"{self.client} answers in another form than its API documents: {problem}") from None

    def _counts(self, ingested: Ingested | None) -> dict[str, Any]:
        """An ingestion's counts, as fields of ``Pulled``. The bytes may have landed before: if that pull was killed
        later, its rows count now; if another window had them, they are duplicates.
        """
        if ingested is None:
            return {}
        entries = self.ledger.entries(self.chain, kind=PULLED)
        if not ingested.new and any(entry.payload["object"] == ingested.object for entry in entries):
            return {"object": ingested.object, "landed": ingested.landed, "duplicates": ingested.landed}
        return {name: value for name, value in ingested.encode().items() if name != "sha256"}
