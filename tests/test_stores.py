"""The stores of ``deploy/stores`` start on real servers with the arguments and probes of their manifests."""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from stack.binaries import find
from stack.postgres import Postgres
from tests.conftest import free_port
from tests.deployed import Manifest, templates

PASSWORD = "hunter2"


def container(store: str) -> Manifest:
    [found] = templates()[f"StatefulSet/{store}"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None, f"{command} ended"
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_redis_runs_with_its_arguments_and_its_probe_tells_when_it_answers(
    need_binary: Callable[[str, str], str], tmp_path: Path
) -> None:
    redis, port = container("redis"), free_port()
    binary = need_binary("redis-server", "redis-server")
    values = {"$(REDIS_PASSWORD)": PASSWORD, "/data": str(tmp_path), "redis-server": binary}
    command = [values.get(argument, argument) for argument in redis["args"]]
    probe = redis["readinessProbe"]["exec"]["command"]
    ready = [*probe[:2], probe[2].replace("redis-cli", f"redis-cli -p {port}")]

    def is_ready(password: str = PASSWORD) -> bool:
        return subprocess.run(ready, env={**os.environ, "REDIS_PASSWORD": password}, check=False).returncode == 0

    assert not is_ready()
    with running([*command, "--port", str(port), "--bind", "127.0.0.1"], port):
        assert is_ready()
        assert not is_ready("wrong")
        with Redis(port=port, password=PASSWORD) as client:
            options = client.config_get("*")
    wanted = {"appendonly": "yes", "maxmemory": str(768 * 2**20), "maxmemory-policy": "noeviction"}
    assert (wanted | {"dir": str(tmp_path)}).items() <= options.items()


def test_postgres_runs_with_its_arguments_and_its_probe_tells_when_it_answers(
    need_binary: Callable[[str, str], str],
) -> None:
    need_binary("initdb", "postgresql")
    postgres, port = container("postgres"), free_port()
    options = [argument.partition("=") for argument in postgres["args"] if argument != "-c"]
    probe = [str(find("pg_isready")), *postgres["readinessProbe"]["exec"]["command"][1:], f"--port={port}"]
    with tempfile.TemporaryDirectory(prefix="fuelline-store-") as name:
        Path(name).chmod(0o755)
        server = Postgres(folder=Path(name, "data"), port=port, owner="postgres")
        assert subprocess.run(probe, check=False, capture_output=True).returncode == 2
        server.start(fsync="off", **{option: value for option, _, value in options})
        try:
            assert subprocess.run(probe, check=False, capture_output=True).returncode == 0
        finally:
            server.stop("immediate")


def test_every_variable_that_an_argument_names_is_set() -> None:
    for name in ("minio", "postgres", "redis", "rabbitmq"):
        store = container(name)
        named = set(re.findall(r"\$\((\w+)\)", " ".join(store.get("args", []))))
        assert named <= {variable["name"] for variable in store["env"]}, name
