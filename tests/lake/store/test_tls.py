"""Postgres and Redis over TLS by a private authority that the address names."""

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from errors import SettingsError
from features.online.feast_repo import open_feature_store
from lake.health import require_ready
from lake.tables.catalog import open_catalog
from settings import Settings, read_settings
from stack.daemon import Daemon
from stack.ports import listens
from stack.postgres import Postgres
from tests.conftest import free_port


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def written(authority: trustme.CA, folder: Path) -> tuple[Path, Path]:
    """A certificate for ``localhost`` and its key."""
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def guarded_postgres(need_binary: Callable[[str, str], str], authority: trustme.CA) -> Iterator[Postgres]:
    need_binary("initdb", "postgresql")
    with tempfile.TemporaryDirectory(prefix="fuelline-tls-") as name:
        Path(name).chmod(0o755)
        certificate, key = written(authority, Path(name))
        if not os.geteuid():
            os.chown(key, pwd.getpwnam("postgres").pw_uid, -1)
        server = Postgres(folder=Path(name, "data"), port=free_port())
        server.start(ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(key), fsync="off")
        try:
            yield server
        finally:
            server.stop("immediate")


def test_the_certificate_of_postgres_is_verified(guarded_postgres: Postgres, ca: Path, tmp_path: Path) -> None:
    def settings(options: str) -> Settings:
        return read_settings(
            home=tmp_path, catalog=guarded_postgres.url().replace("127.0.0.1", "localhost") + f"?{options}"
        )

    trusted = settings(f"sslmode=verify-full&sslrootcert={ca}")
    require_ready(trusted, "catalog")
    assert open_catalog(trusted).list_namespaces() == []
    with pytest.raises(SettingsError, match=r"^FUELLINE_CATALOG: the certificate of the database is not trusted"):
        require_ready(settings("sslmode=verify-full&sslrootcert=system"), "catalog")


@pytest.fixture
def guarded_redis(need_binary: Callable[[str, str], str], authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    certificate, key = written(authority, tmp_path)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    tls += ["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
    command = [need_binary("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", "0", "--save", "", *tls]
    server = Daemon(folder=tmp_path / "redis", command=command, answers=lambda: listens(port))
    try:
        server.start()
        yield f"rediss://localhost:{port}"
    finally:
        server.stop()


def test_the_check_and_feast_verify_the_certificate_of_redis(guarded_redis: str, ca: Path, tmp_path: Path) -> None:
    trusted = read_settings(home=tmp_path, online=f"{guarded_redis}?ssl_ca_certs={ca}")
    require_ready(trusted, "online")
    store = open_feature_store(trusted)
    features = store.get_online_features(["user_features:total_queries"], [{"user_id": "nobody"}]).to_dict()
    assert features["total_queries"] == [None]
    with pytest.raises(SettingsError, match=r"^FUELLINE_ONLINE: the certificate of Redis is not trusted"):
        require_ready(read_settings(home=tmp_path, online=guarded_redis), "online")
