"""S3 as in a homelab: TLS by a private authority, addressing by path, credentials from the default chain."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import lake.store.s3_client as s3_module
from errors import PeerError, SettingsError
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.lake import Lake, open_lake
from lake.store.s3_client import S3Access, arrow_client, credentials, s3_client
from settings import Settings, read_settings
from tests.conftest import free_port, moto
from tests.lake.rows import interaction, table

CHAIN = "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def endpoint(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose certificate is only for ``localhost``, not for a host name that starts with a bucket."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    with moto("-c", str(folder / "cert.pem"), "-k", str(folder / "key.pem"), scheme="https", host="localhost") as url:
        yield url


@pytest.fixture
def private(endpoint: str, authority: trustme.CA, tmp_path: Path) -> Settings:
    """A fresh bucket behind that certificate."""
    ca, bucket = tmp_path / "ca.pem", f"lake-{free_port()}"
    authority.cert_pem.write_to_path(ca)
    keys = {"s3_access_key": "test", "s3_secret_key": "test-secret"}
    chosen = read_settings(
        home=tmp_path / "home", lake="test", store=f"s3://{bucket}/lake", s3_endpoint=endpoint, s3_ca=str(ca), **keys
    )
    s3_client(S3Access.of(chosen)).create_bucket(Bucket=bucket)
    return chosen


@pytest.fixture
def bare(private: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A process whose credential chain finds nothing until the test provides something."""
    for name in CHAIN.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_module.session.cache_clear()
    yield monkeypatch
    s3_module.session.cache_clear()


def without_keys(settings: Settings) -> Settings:
    return read_settings(**settings.model_dump(exclude={"s3_access_key", "s3_secret_key"}))


def assert_works(lake: Lake) -> None:
    """Objects by boto3, and a table's files by Arrow."""
    lake.ledger.append("work", "tried", "key", {})
    version = lake.tables.append(CONTRACT, table([interaction(0), interaction(1)]), key="a")
    assert lake.tables.read(version).num_rows == 2
    assert any(key.endswith(".parquet") for key in lake.store.list("warehouse/"))


def test_a_private_authority_is_trusted_by_every_client(private: Settings) -> None:
    assert_works(open_lake(private))


def test_a_large_object_is_transferred_in_parts(private: Settings, tmp_path: Path) -> None:
    lake, sent, received = open_lake(private), tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(bytes(range(256)) * 4096 * 20)
    lake.store.upload("ml/large", sent)
    lake.store.download("ml/large", received)
    assert received.read_bytes() == sent.read_bytes()
    head = lake.store.client.head_object(Bucket=private.store.split("/")[2], Key="lake/test/ml/large")  # type: ignore[attr-defined]
    assert head["ETag"].endswith('-3"')


def test_an_untrusted_certificate_is_an_error_that_names_the_setting(private: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^FUELLINE_S3_CA: the certificate .*Example: FUELLINE_S3_CA=/etc"):
        open_lake(private.model_copy(update={"s3_ca": ""}))


def test_a_missing_file_of_certificates_is_named(private: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^FUELLINE_S3_CA: there is no file /nowhere\.pem"):
        open_lake(private.model_copy(update={"s3_ca": "/nowhere.pem"}))


def test_an_endpoint_where_nothing_listens_is_an_error_that_a_task_may_retry(private: Settings) -> None:
    with pytest.raises(PeerError, match=r"^FUELLINE_S3_ENDPOINT: nothing listens there"):
        open_lake(private.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_port()}"}))


def test_every_client_uses_the_keys_of_the_environment(private: Settings, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    chosen = without_keys(private)
    assert credentials(S3Access.of(chosen)).key == "from-the-environment"
    assert_works(open_lake(chosen))


def test_every_client_uses_the_keys_of_the_shared_file(
    private: Settings, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[forge]\naws_access_key_id = of-a-profile\naws_secret_access_key = secret\n"
    )
    bare.setenv("AWS_PROFILE", "forge")
    chosen = without_keys(private)
    assert credentials(S3Access.of(chosen)).key == "of-a-profile"
    assert_works(open_lake(chosen))


def test_every_client_uses_the_expiring_keys_of_a_web_identity(
    private: Settings, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("signed by the cluster")
    bare.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/tasks")
    bare.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    bare.setenv("AWS_ENDPOINT_URL_STS", private.s3_endpoint)
    bare.setenv("AWS_CA_BUNDLE", private.s3_ca)
    chosen = without_keys(private)
    assert credentials(S3Access.of(chosen)).token
    assert_works(open_lake(chosen))


def test_renewed_keys_are_used_at_once(private: Settings, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_ACCESS_KEY_ID", "first")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    lake, access = open_lake(without_keys(private)), S3Access.of(without_keys(private))
    version = lake.tables.append(CONTRACT, table([interaction(0)]), key="a")
    files, before = lake.tables.load(version.table).io, arrow_client(access)
    found = s3_module.session().get_credentials()
    assert found is not None
    found.access_key = "second"
    assert files.fs_by_scheme("s3", None) == arrow_client(access) != before  # type: ignore[attr-defined]
    assert lake.tables.read(version).num_rows == 1


def test_a_profile_that_does_not_exist_is_an_error_that_names_the_setting(
    private: Settings, bare: pytest.MonkeyPatch
) -> None:
    bare.setenv("AWS_PROFILE", "mistyped")
    with pytest.raises(SettingsError, match=r"^FUELLINE_S3_ACCESS_KEY: .*the default chain fails .*mistyped"):
        open_lake(without_keys(private))


def test_missing_credentials_are_an_error_that_names_the_setting(private: Settings, bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^FUELLINE_S3_ACCESS_KEY: it is not set, and the default chain"):
        open_lake(without_keys(private))


def test_the_text_form_of_the_s3_settings_holds_no_secret(private: Settings) -> None:
    text = f"{private!r} {S3Access.of(private)!r}"
    assert "test-secret" not in text


def test_with_a_timeout_a_store_that_hangs_is_tried_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        chosen = read_settings(
            store="s3://lake/x",
            s3_endpoint=f"http://127.0.0.1:{hanging.getsockname()[1]}",
            s3_access_key="test",
            s3_secret_key="test-secret",
        )
        with pytest.raises(PeerError):
            open_lake(chosen, timeout_s=0.2)
        hanging.settimeout(1)
        hanging.accept()[0].close()
        with pytest.raises(TimeoutError):
            hanging.accept()
