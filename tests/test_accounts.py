"""The accounts of ``deploy/`` in a real Postgres, Redis and RabbitMQ: each has only the rights for its work."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pika
import pika.exceptions
import psycopg
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from errors import SettingsError
from features.batch.compute import compute_features
from features.definitions.views import SERVICES
from features.online.feast_repo import open_feature_store, register_model_version
from features.online.reader import OnlineReader, materialize
from features.streaming import consumer
from features.streaming.consumer import feast_push
from features.streaming.windows import count, forget, open_stream, read_streaming
from lake.contracts.agent_interactions import AGENT_FEEDBACK, AGENT_INTERACTIONS
from lake.health import check, require_ready
from lake.lake import open_lake
from lake.sources.broker import EXCHANGE, Batching, StopCondition, connected, consume
from lake.sources.cloudevents import Message
from lake.sources.events import QUEUE, drain
from settings import Settings, read_settings
from stack.binaries import find
from stack.daemon import Daemon
from stack.ports import listens
from stack.postgres import Postgres
from stack.rabbitmq import RabbitMQ, script
from tests.conftest import free_port
from tests.features.conftest import FIRST_DAY, make_interactions
from tests.features.streaming.test_windows import messages
from tests.lake.events import STRUCTURED, event
from tests.servers.broker import node

DEPLOY = Path(__file__).parents[1] / "deploy"
AFTER = FIRST_DAY + timedelta(days=10)
ROLES = ("tasks", "lake", "gateway", "streaming", "copy", "trino", "mlflow")


@pytest.fixture(scope="module")
def roles(need_binary: Callable[[str, str], str]) -> Iterator[Postgres]:
    """A Postgres with the roles of the deployment and nothing else; each password is the role's variable."""
    need_binary("initdb", "postgresql")
    with tempfile.TemporaryDirectory(prefix="fuelline-roles-") as name:
        Path(name).chmod(0o755)
        server = Postgres(folder=Path(name, "data"), port=free_port(), owner="postgres")
        server.start(fsync="off")
        try:
            variables = [f"--set={role}={role}" for role in ROLES]
            file = f"--file={DEPLOY / 'postgres' / 'roles.sql'}"
            done = subprocess.run(
                [str(find("psql")), server.url(), *variables, file], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            yield server
        finally:
            server.stop("immediate")


def test_the_tasks_create_the_tables_and_the_others_only_use_their_own(roles: Postgres, tmp_path: Path) -> None:
    tasks = read_settings(
        home=tmp_path / "tasks",
        lake="default",
        store=str(tmp_path / "objects"),
        catalog=roles.url("fuelline", "fuelline", "tasks"),
        tracking=roles.url("mlflow", "mlflow", "mlflow"),
    )
    open_lake(tasks).tables.append(AGENT_INTERACTIONS, make_interactions(20), key="a")
    register_model_version(open_feature_store(tasks), "agents@v1", next(iter(SERVICES)))
    assert [service.fault for service in check(tasks)] == [""] * 6

    gateway = roles.url("fuelline", "fuelline_gateway", "gateway")
    store = open_feature_store(read_settings(**tasks.model_dump() | {"catalog": gateway, "home": tmp_path / "gateway"}))
    assert "agents@v1" in {service.name for service in store.list_feature_services()}
    committer = roles.url("fuelline", "fuelline_lake", "lake")
    lake = open_lake(read_settings(**tasks.model_dump() | {"catalog": committer, "home": tmp_path / "lake"}))
    lake.tables.append(AGENT_INTERACTIONS, make_interactions(40), key="b")
    lake.tables.append(AGENT_FEEDBACK, AGENT_FEEDBACK.arrow_schema.empty_table(), key="new")
    with psycopg.connect(roles.url("fuelline", "fuelline_trino", "trino")) as trino:
        assert trino.execute("SELECT count(*) FROM iceberg_tables").fetchone() == (2,)
    dump = ["--no-owner", f"--file={tmp_path / 'dump'}", roles.url("fuelline", "fuelline_copy", "copy")]
    subprocess.run([str(find("pg_dump")), *dump], check=True)
    assert "agents@v1" in (tmp_path / "dump").read_text()

    for password in ("lake", "gateway", "streaming", "trino", "copy"):
        role = f"fuelline_{password}"
        for statement in ("DELETE FROM iceberg_tables", "CREATE TABLE mine (x int)", "DROP TABLE feature_services"):
            with (
                psycopg.connect(roles.url("fuelline", role, password)) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute(statement)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(roles.url("mlflow", role, password))


@pytest.fixture
def redis_as(need_binary: Callable[[str, str], str], tmp_path: Path) -> Iterator[Callable[[str], Settings]]:
    """A Redis with the users of the deployment; returns the settings of one of them."""
    users = (DEPLOY / "redis" / "users.acl").read_text().replace("<password>", "hunter2")
    (tmp_path / "users.acl").write_text(users)
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--aclfile", str(tmp_path / "users.acl")]
    command = [need_binary("redis-server", "redis-server"), *options]
    server = Daemon(folder=tmp_path / "redis", command=command, answers=lambda: listens(port))

    def as_user(user: str) -> Settings:
        address = f"redis://{user}:hunter2@127.0.0.1:{port}"
        return read_settings(home=tmp_path / "home", lake="default", cache=tmp_path / "cache", online=address)

    try:
        server.start()
        yield as_user
    finally:
        server.stop()


def test_the_tasks_write_online_features_and_the_gateway_only_reads_them(redis_as: Callable[[str], Settings]) -> None:
    lake = open_lake(redis_as("fuelline"))
    require_ready(lake.settings, "online")
    rows = make_interactions(200, days=3)
    users, agents = compute_features(lake, lake.tables.append(AGENT_INTERACTIONS, rows, key="a"), AFTER)
    as_of = FIRST_DAY + timedelta(hours=74)
    assert materialize(lake, users, agents, as_of).users > 0
    stream = open_stream(lake)
    count(stream, messages(rows.slice(0, 50)), AFTER)
    user, agent = rows["user_id"][0].as_py(), rows["agent_name"][0].as_py()

    reader = redis_as("fuelline-gateway")
    require_ready(reader, "online")
    users_online = {f"user-{number}" for number in range(6)}
    online = OnlineReader(open_feature_store(reader))
    assert any(online.read(name, agent, as_of).total_queries for name in users_online)
    read_streaming(open_stream(open_lake(reader)), user, agent, rows["timestamp"][0].as_py() + timedelta(seconds=5))
    with Redis.from_url(reader.online) as client:
        for refused in (
            lambda: client.set("fuelline_default", "x"),
            lambda: client.flushall(),
            lambda: client.keys("*"),
            lambda: client.get("somebody:else"),
        ):
            with pytest.raises(NoPermissionError):
                refused()
    assert forget(stream, user) > 0
    with Redis.from_url(lake.settings.online) as client, pytest.raises(NoPermissionError):
        client.flushdb()


def test_the_streaming_consumer_counts_and_pushes_once_the_owner_has_registered_its_views(
    roles: Postgres, redis_as: Callable[[str], Settings], tmp_path: Path
) -> None:
    def as_user(role: str, password: str) -> Settings:
        address = roles.url("fuelline", role, password)
        return redis_as("fuelline-streaming").model_copy(update={"catalog": address, "home": tmp_path / role})

    reader, owner = as_user("fuelline_streaming", "streaming"), as_user("fuelline", "tasks")
    stream = open_stream(open_lake(reader))
    open_feature_store(owner)  # the tables; it does not define the streaming views
    with pytest.raises(SettingsError, match=r"FUELLINE_CATALOG.*may not use the table"):
        feast_push(reader, stream)
    feast_push(owner, stream)
    rows = make_interactions(50, days=1)
    assert count(stream, messages(rows), AFTER).num_rows == 50
    user, agent = rows["user_id"][0].as_py(), rows["agent_name"][0].as_py()
    feast_push(reader, stream)([user], [agent], FIRST_DAY + timedelta(hours=20))
    entity = {"user_id": user, "agent_name": agent}
    answer = open_feature_store(reader).get_online_features(["user_streaming:queries_last_24h"], [entity]).to_dict()
    assert answer["queries_last_24h"][0] > 0
    with Redis.from_url(reader.online) as client:
        for refused in (lambda: client.delete("fuelline_x"), lambda: list(client.scan_iter()), client.flushdb):
            with pytest.raises(NoPermissionError):
                refused()


@pytest.fixture(scope="module")
def rabbitmq(need_binary: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ with the users of the deployment."""
    with node(need_binary, tmp_path_factory.mktemp("rabbitmq-users")) as started:
        passwords = {"AGENTS_PASSWORD": "hunter2", "LAKE_PASSWORD": "hunter2", "STREAMING_PASSWORD": "hunter2"}
        created = subprocess.run(
            [str(DEPLOY / "rabbitmq" / "users.sh")],
            env=started.environment() | passwords | {"CTL": script("rabbitmqctl")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert created.returncode == 0, created.stdout + created.stderr
        yield started


def test_agents_only_publish_and_each_consumer_creates_and_reads_its_own_queue(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    def as_user(user: str) -> Settings:
        address = rabbitmq.url.replace("guest:guest", f"{user}:hunter2")
        return read_settings(home=tmp_path, lake="default", cache=tmp_path / "cache", rabbitmq=address)

    def counted(handled: Sequence[Message]) -> None: ...

    lake, streaming, agents = open_lake(as_user("fuelline-lake")), as_user("fuelline-streaming"), as_user("agents")
    require_ready(lake.settings, "rabbitmq")
    small_batches, until_empty = Batching(messages=10, seconds=0.1), StopCondition(seconds=60, empty=True)
    assert drain(lake, until_empty) == 0  # creates the exchange and the queues
    assert consume(streaming, consumer.QUEUE, counted, small_batches, until_empty) == 0
    with connected(agents) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        structured = pika.BasicProperties(content_type=STRUCTURED, delivery_mode=2)
        for number in range(2):
            channel.basic_publish(EXCHANGE, "event", event(number), structured)
    assert drain(lake, StopCondition(seconds=60, empty=True)) == 2
    assert consume(streaming, consumer.QUEUE, counted, small_batches, StopCondition(seconds=60, empty=True)) == 2
    for user, refused in (
        (agents, lambda channel: channel.queue_declare("fuelline.mine", durable=True)),
        (agents, lambda channel: channel.basic_get(QUEUE)),
        (agents, lambda channel: channel.queue_purge(QUEUE)),
        (streaming, lambda channel: channel.basic_get(QUEUE)),
        (streaming, lambda channel: channel.queue_delete(QUEUE)),
        (lake.settings, lambda channel: channel.basic_get(consumer.QUEUE)),
        (lake.settings, lambda channel: channel.queue_bind(consumer.QUEUE, EXCHANGE, "#")),
    ):
        with (
            connected(user) as connection,
            pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"),
        ):
            refused(connection.channel())
