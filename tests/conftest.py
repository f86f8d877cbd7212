"""Fixtures that every test may use: a lake of its own, embedded or on an S3 server that this run started."""

import contextlib
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis

# Before Feast, which sets PROMETHEUS_MULTIPROC_DIR when it is imported: prometheus_client reads it at its own import,
# and would then sum the metrics of all gateways of this process.
import prometheus_client  # noqa: F401
import pytest
from pydantic import SecretStr

from lake.lake import Lake, open_lake
from settings import Settings, read_settings
from stack.binaries import find
from stack.postgres import Postgres
from tests.memory import temporary_folders_in_memory

# A loaded machine is slow, not wrong: no example has a deadline.
hypothesis.settings.register_profile("fuelline", deadline=None)
hypothesis.settings.load_profile("fuelline")


DISK = "/var/tmp"
SERVICES = frozenset({"need_binary", "s3_endpoint"})
"""Fixtures that start a server; every other fixture that does depends on one of them."""

SLOW_FIXTURES = frozenset({"old", "operated", "operated_lake", "spark", "warehouse"})
"""Fixtures that take more than two seconds to set up: so the first test of a module is not the only slow one."""
SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text().split())
"""Names of the test functions that were measured to take more than two seconds of a processor."""


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the workers chooses the temporary folder of all of them."""
    if not hasattr(config, "workerinput"):
        config.add_cleanup(temporary_folders_in_memory())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that are slow or start a server, and run modules with slow tests first, to keep all workers busy."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if SERVICES.intersection(fixtures):
            item.add_marker("service")
        if SLOW_FIXTURES.intersection(fixtures) or getattr(item, "originalname", "") in SLOW:
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    service = {item.path for item in items if item.get_closest_marker("service")}
    items.sort(key=lambda item: (item.path not in slow, item.path not in service))


def pytest_addoption(parser: pytest.Parser) -> None:
    """A missing server skips its tests with a message, or fails them under ``--require-services``."""
    parser.addoption(
        "--require-services", action="store_true", help="fail, not skip, where a server's binary is missing"
    )


@pytest.fixture(scope="session")
def need_binary(request: pytest.FixtureRequest) -> Callable[[str, str], str]:
    """Called with the name of a binary, returns its path, or skips (fails under ``--require-services``)."""

    def need(name: str, package: str) -> str:
        if path := find(name):
            return path
        message = f"{name} is not installed: apt-get install {package}"
        if request.config.getoption("--require-services"):
            pytest.fail(message)
        pytest.skip(message)

    return need


@pytest.fixture(scope="session", autouse=True)
def frozen_ledger() -> Iterator[None]:
    """Every entry that a test writes has the form of its kind."""
    from tests.frozen.ledger import guard

    with pytest.MonkeyPatch.context() as patch:
        guard(patch)
        yield


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A fresh folder on a disk: ``tmp_path`` may be in memory."""
    with tempfile.TemporaryDirectory(prefix="fuelline-", dir=DISK) as name:
        yield Path(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a fresh embedded lake."""
    return read_settings(home=tmp_path / "home", lake="test", cache=tmp_path / "cache")


def variables(settings: Settings) -> dict[str, str]:
    """The environment variables that give another process these settings."""
    stated = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"FUELLINE_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in stated.items()
    }


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """A fresh embedded lake."""
    return open_lake(settings)


@pytest.fixture(scope="session")
def rabbitmq_url(need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real RabbitMQ on loopback, one for the whole run."""
    from tests.servers.broker import broker

    with broker(need_binary, tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on loopback, one for the whole run."""
    binary, port = need_binary("redis-server", "redis-server"), free_port()
    folder = tmp_path_factory.mktemp("redis")
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_redis(port, server)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for_redis(port: int, server: "subprocess.Popen[bytes]") -> None:
    from redis import Redis
    from redis.exceptions import ConnectionError as NotYet

    with Redis(port=port) as client:
        for _ in range(200):
            try:
                client.ping()
            except NotYet:
                assert server.poll() is None, "redis-server stopped at once"
                time.sleep(0.05)
            else:
                return
    raise AssertionError("redis-server did not start in 10 s")


@pytest.fixture(scope="session")
def postgres(need_binary: Callable[[str, str], str]) -> Iterator[Postgres]:
    """A real Postgres on loopback, one for the whole run. Its user cannot read root's temporary folders."""
    need_binary("initdb", "postgresql")
    with tempfile.TemporaryDirectory(prefix="fuelline-postgres-") as name:
        Path(name).chmod(0o755)
        server = Postgres(folder=Path(name, "data"), port=free_port())
        server.start(fsync="off", full_page_writes="off")
        try:
            yield server
        finally:
            server.stop("immediate")


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The address of a fresh database."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.make_database(name)
    return postgres.url(name)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A moto S3 server on loopback, one for the whole run."""
    with moto() as endpoint:
        yield endpoint


@contextlib.contextmanager
def moto(*options: str, scheme: str = "http", host: str = "127.0.0.1") -> Iterator[str]:
    """A moto S3 server on loopback; yields its endpoint."""
    port = free_port()
    script = Path(__file__).parent / "servers" / "moto_server.py"
    command = [sys.executable, "-W", "ignore", str(script), "-H", "127.0.0.1", "-p", str(port), *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"{scheme}://{host}:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, "the S3 server stopped at once"
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the S3 server did not start in 30 s")


@pytest.fixture
def s3_settings(tmp_path: Path, s3_endpoint: str) -> Settings:
    """Settings of a fresh lake in a bucket of its own."""
    import boto3

    bucket = f"lake-{free_port()}-{tmp_path.name.lower().replace('_', '-')}"[:60].rstrip("-")
    keys = {"s3_access_key": "test", "s3_secret_key": "test-secret"}
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test-secret",
    )
    client.create_bucket(Bucket=bucket)
    return read_settings(
        home=tmp_path / "home",
        lake="test",
        cache=tmp_path / "cache",
        store=f"s3://{bucket}/lake",
        s3_endpoint=s3_endpoint,
        **keys,
    )


@pytest.fixture
def s3_lake(s3_settings: Settings) -> Lake:
    """A fresh lake on S3."""
    return open_lake(s3_settings)
