"""A package index on loopback (PEP 503) with small wheels, and what was asked of it."""

import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote


def wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Iterable[str] = (),
    extras: Iterable[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel that holds one empty module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {one}" for one in requires]
    files = {
        f"{module}.py": "",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    path = folder / f"{module}-{version}-{tag}.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


class Index:
    """The folders below ``root``, each an index of the wheels in it; ``silent`` accepts requests and never answers."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.address = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def wheels(self, name: str, package: str) -> list[Path]:
        return sorted((self.root / name).glob(f"{package.replace('-', '_')}-*.whl"))


@contextmanager
def serve(root: Path, silent_s: float) -> Iterator[Index]:
    """Serve the folders of ``root``; a request for the index ``silent`` is answered after ``silent_s`` seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            name, package, *file = unquote(self.path).strip("/").split("/")
            if name == "silent":
                time.sleep(silent_s)
            if file:
                self._send((root / name / file[0]).read_bytes(), "application/octet-stream")
            elif found := index.wheels(name, package):
                links = (f'<a href="/{name}/{package}/{quote(path.name)}">{path.name}</a>' for path in found)
                self._send(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode(), "text/html")
            else:
                self.send_error(404)

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index = Index(root, server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
