"""moto's server, one request at a time: it checks and stores a conditional put in two steps that others could split."""

import threading
from typing import Any

from moto import server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

TURN = threading.Lock()


class OneAtATime(DomainDispatcherApplication):
    """Requests are executed one after the other, so that each is atomic as in S3."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with TURN:
            return super().__call__(environ, start_response)


if __name__ == "__main__":
    server.DomainDispatcherApplication = OneAtATime  # type: ignore[attr-defined]
    server.main()
