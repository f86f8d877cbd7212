"""Pulling: a window of a server's data becomes a file of rows, and the file goes the way of every other file.

So landing, checks, quarantine, de-duplication, exactly-once and counting are those of ``lake.ingest.pipeline``. What is
done stands in the source's chain in the ledger, keyed by cluster, queries and window: a window that is done is not
asked for again, whoever asks. What a pull that was killed had landed is ingested first; then it asks again, and the
rows that are in already count as duplicates.

Data come late, and clocks are wrong. A run ends its window ``settle_s`` before its time, because what is being written
is not all there; and it reads again what lies up to ``lateness_minutes`` before its window: of that only new rows are
committed, each in the partition of its own time. A row from the future is quarantined. A server that is down does not
keep the others from being read, but it fails the run in the end, and its windows stay to be done.
"""

import hashlib
import itertools
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from errors import PeerError, UnknownName
from lake.contracts import contract
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake
from lake.sources.http_client import Limits, Remote
from lake.sources.query import Fetching, Query, Row
from lake.sources.registry import pullable
from lake.sources.response_log import SUFFIX, Answers
from lake.sources.selection import Pulled, Selection
from lake.windows import BEGINNING, Window
from settings import Endpoint

log = logging.getLogger("fuelline.sources")

TRANSLATION_VERSION = 1
"""Part of every window's key: moves when the same answers give other rows."""
PULLED = "pulled"


Connect = Callable[[Endpoint], Remote]


def connect(endpoint: Endpoint) -> Remote:
    """A server within the usual limits; twenty requests a second at most, because it has others to serve."""
    return Remote(endpoint, Limits(between_s=0.05))


def source_name(endpoint: Endpoint) -> str:
    """The name of a server as a source: its chain in the ledger, its folder in the raw zone, its watermark."""
    return f"{endpoint.peer}-{endpoint.cluster}"


def pull_window(lake: Lake, selection: Selection, due: Window, *, connect: Connect = connect) -> list[Pulled]:
    """Pull all that a scheduled run has to: the window, less the time that data take to settle, with what came late.

    Raises:
        PeerError: a server failed; everything else has been pulled.
        SettingsError: no server of this kind is set.
        UnknownName: no such data set or cluster.
    """
    settle = timedelta(seconds=selection.settle_s)
    start = due.start if due.start > BEGINNING else due.end - timedelta(hours=selection.first_hours)
    fresh = Window(start=start - settle, end=due.end - settle)
    length = timedelta(minutes=selection.chunk_minutes)
    late = fresh.start - timedelta(minutes=selection.lateness_minutes)
    if selection.lateness_minutes:
        late -= (late - BEGINNING) % length  # whole pieces, so that the same ones are asked for again
    pieces = [(piece, fresh.end) for piece in _pieces(late, fresh.start, selection)]
    pieces += [(piece, piece.end) for piece in _pieces(fresh.start, fresh.end, selection)]
    if not pullable(selection.data_set).windowed:
        pieces = [(fresh, fresh.end)]
    return _all(lake, selection, pieces, connect)


def pull_chunk(lake: Lake, selection: Selection, chunk: Window, *, connect: Connect = connect) -> list[Pulled]:
    """Pull one window exactly as it is, as a back-fill does; raises what ``pull_window`` raises."""
    pieces = _pieces(chunk.start, chunk.end, selection) if pullable(selection.data_set).windowed else [chunk]
    return _all(lake, selection, [(piece, piece.end) for piece in pieces], connect)


def chunks(start: datetime, end: datetime, length: timedelta) -> Iterator[Window]:
    """A span in windows that part at whole multiples of their length since 1970, so that two plans part alike."""
    at = start
    while at < end:
        following = BEGINNING + ((at - BEGINNING) // length + 1) * length
        yield Window(start=at, end=min(following, end))
        at = following


def _pieces(start: datetime, end: datetime, selection: Selection) -> Iterator[Window]:
    return chunks(start, end, timedelta(minutes=selection.chunk_minutes))


def _all(lake: Lake, selection: Selection, pieces: Iterable[tuple[Window, datetime]], connect: Connect) -> list[Pulled]:
    done: list[Pulled] = []
    failed: list[PeerError] = []
    todo = list(pieces)
    for endpoint in _endpoints(lake, selection):
        remote = connect(endpoint)
        try:
            with Ingester(lake, contract(selection.data_set), source_name(endpoint)).finishing_landed():
                for piece, as_of in todo:
                    done.append(_once(lake, selection, remote, piece, as_of))
        except PeerError as error:
            log.warning("%s", error)
            failed.append(error)
    if failed:
        brought = sum(one.committed for one in done)
        raise PeerError(f"{'; '.join(map(str, failed))} (the other servers gave {brought} rows)") from failed[0]
    return done


def _endpoints(lake: Lake, selection: Selection) -> list[Endpoint]:
    known = {one.cluster: one for one in lake.settings.endpoints(pullable(selection.data_set).peer)}
    for name in selection.clusters:
        if name not in known:
            raise UnknownName("cluster", name, known)
    return [known[name] for name in selection.clusters or known]


def _once(lake: Lake, selection: Selection, remote: Remote, window: Window, as_of: datetime) -> Pulled:
    """One window of one server, all queries in one commit, unless it is done."""
    source = source_name(remote.endpoint)
    chain, same = f"sources/{source}", _key(selection)
    key = f"{same}{window.start.isoformat()}:{window.end.isoformat()}:{as_of.isoformat()}"
    if entry := lake.ledger.find(chain, key):
        return Pulled(**entry.payload, new=False)
    asked, faults = remote.requests, Counter(remote.faults)
    fetchings = _fetchings(selection, remote, window, _cursor(lake, chain, same, window, selection))
    ingested, answers = _ingest(lake, selection, source, remote, fetchings)
    result = Pulled(
        source=source,
        queries=[one.query.name for one in fetchings],
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        **_counts(lake, chain, ingested),
        answers=answers,
        requests=remote.requests - asked,
        faults=dict(remote.faults - faults),
        skew_s=remote.skew_s,
        cursor={one.query.name: one.cursor for one in fetchings if one.cursor},
    )
    told = {name: value for name, value in asdict(result).items() if name != "new"}
    lake.ledger.append(chain, PULLED, key, told)
    log.info("%s %s up to %s: %d rows in", source, selection.data_set, result.end, result.committed)
    return result


def _key(selection: Selection) -> str:
    """What a pull is of, but for the window: all that changes its rows."""
    form = contract(selection.data_set)
    asked = json.dumps([sorted(selection.queries.items()), selection.step_s])
    digested = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return f"{PULLED}:{form.name}:v{form.version}:t{TRANSLATION_VERSION}:{digested}:"


def _fetchings(
    selection: Selection, remote: Remote, window: Window, cursors: Mapping[str, Mapping[str, str]]
) -> list[Fetching]:
    """One a query, in order of their names, each with what its last pull left for it."""
    return [
        Fetching(
            remote=remote,
            query=Query(name=name, text=text, step_s=selection.step_s),
            window=window,
            cursor=dict(cursors.get(name, {})),
        )
        for name, text in sorted(selection.queries.items())
    ]


def _cursor(lake: Lake, chain: str, same: str, window: Window, selection: Selection) -> Mapping[str, Mapping[str, str]]:
    """What the newest pull of the same thing left for this one, by query: of this very window where a server can be
    asked about windows, of any where it only goes on from where it was.
    """
    if pullable(selection.data_set).windowed:
        same += f"{window.start.isoformat()}:{window.end.isoformat()}:"
    before = [entry for entry in lake.ledger.entries(chain, kind=PULLED) if entry.key.startswith(same)]
    found: Mapping[str, Mapping[str, str]] = before[-1].payload["cursor"] if before else {}
    return found


def _ingest(
    lake: Lake, selection: Selection, source: str, remote: Remote, fetchings: Sequence[Fetching]
) -> tuple[Ingested | None, str]:
    """The window's rows as a file that lands, after the answers that they were made of; the key of those.

    None where there are no rows: an empty file says nothing. Answers that bring what is in already are not kept again:
    late data are looked for many times.
    """
    form = contract(selection.data_set)
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        path, remote.answers = Path(folder, "rows.jsonl"), Answers(Path(folder, "answers"))
        try:
            written = _write(path, itertools.chain.from_iterable(map(pullable(selection.data_set).rows, fetchings)))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            # The error itself may quote what the server answered, which may be anybody's words.
            told = f"{type(error).__name__} while its answer was read"
            raise PeerError(f"{remote} answers in another form than its API documents: {told}") from None
        finally:
            answers, remote.answers = remote.answers, None
            answers.close()
        if not written:
            return None, ""
        ingester = Ingester(lake, form, source)
        key = "" if ingester.is_ingested(path) else ingester.raw_zone.keep_beside(answers.path, SUFFIX)
        return ingester.ingest_file(path), key


def _write(path: Path, rows: Iterator[Row | bytes]) -> int:
    """Each row as a line, one after the other; how many."""
    written = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(row if isinstance(row, bytes) else json.dumps(row, separators=(",", ":")).encode())
            file.write(b"\n")
            written += 1
    return written


def _counts(lake: Lake, chain: str, ingested: Ingested | None) -> dict[str, Any]:
    """An ingestion's counts by the names that ``Pulled`` has for them.

    The very bytes may have landed before. If a pull was killed after that, its rows count now; if another window
    brought them, they are duplicates.
    """
    if ingested is None:
        return {}
    counted = not ingested.new and any(
        entry.payload["object"] == ingested.object for entry in lake.ledger.entries(chain, kind=PULLED)
    )
    if counted:
        return {"object": ingested.object, "landed": ingested.landed, "duplicates": ingested.landed}
    return {
        name: getattr(ingested, name)
        for name in ("object", "landed", "committed", "quarantined", "duplicates", "reasons", "watermark")
    }
