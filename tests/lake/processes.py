"""Run a function in several processes at once, and count the calls of a store."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from typing import Any

from lake.store.objects import ObjectStore

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["lake.ingest.pipeline", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow", "boto3", "duckdb"]
)


def at_once(work: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[Any]:
    """The results of ``work`` for each tuple of arguments, each in a process of its own, all at the same time."""
    with PROCESSES.Pool(len(arguments)) as pool:
        return pool.starmap(work, arguments, chunksize=1)


class Counted:
    """A store that counts its operations."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.store, name)
        if callable(value):
            self.calls[name] += 1
        return value


class LostReply:
    """An S3 client's sender that lets the next conditional puts take effect and then loses their replies.

    botocore sees a broken connection and sends the put again.
    """

    def __init__(self, client: Any, losses: int = 1) -> None:
        self.losses = losses
        self._session = client._endpoint.http_session
        self._send = self._session.send
        self._session.send = self.send

    def send(self, request: Any) -> Any:
        """Send for real; lose the reply while there are losses left."""
        from botocore.exceptions import ConnectionClosedError

        answer = self._send(request)
        conditional = {"if-match", "if-none-match"} & {name.lower() for name in request.headers}
        if conditional and self.losses:
            self.losses -= 1
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer
