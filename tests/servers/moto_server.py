"""moto's server, one request at a time: it checks a conditional put and stores it in two steps, with others between."""

import threading
from typing import Any

from moto import server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

TURN = threading.Lock()


class OneAtATime(DomainDispatcherApplication):
    """A request has the whole store to itself, as S3 promises it."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with TURN:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    server.DomainDispatcherApplication = OneAtATime  # type: ignore[attr-defined]
    server.main()
