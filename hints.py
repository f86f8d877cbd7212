"""What a person is told of a setting that is wrong or is none: its name, the reason, and an example of that setting."""

import difflib
import re
from collections.abc import Iterable

from errors import PeerError, SettingsError

NO_SETTINGS = {"DEBUG"}
"""Of the house's variables those that say nothing of a place, without ``FUELLINE_``, as the next."""
SERVICE_LINK = r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)"
"""What Kubernetes tells every pod of a service whose name begins with ``fuelline``."""
EXAMPLES = {
    "lake": "studio",
    "home": "/var/lib/fuelline",
    "store": "s3://fuelline/lakes",
    "s3_endpoint": "https://minio.forge.svc:9000",
    "s3_region": "us-east-1",
    "s3_ca": "/etc/ssl/forge-ca.pem",
    "s3_access_key": "fuelline-tasks",
    "s3_secret_key": "<the secret of that key>",
    "catalog": "postgresql://fuelline:<password>@postgres.forge.svc:5432/fuelline",
    "online": "redis://fuelline:<password>@redis.forge.svc:6379",
    "tracking": "https://mlflow.forge.svc:5000",
    "vllm": "http://vllm-0.vllm:8000,http://vllm-1.vllm:8000",
    "adapters": "/adapters",
    "keys": "/etc/fuelline/keys.json",
    "cluster": "forge",
    "base_model": "smollm2-135m",
    "logs": "/logs",
    "rabbitmq": "amqp://fuelline:<password>@rabbitmq.forge.svc:5672/agents",
    "alerts": "ops@home.example,pager@duty.example",
    "slack": "https://hooks.slack.com/services/T000/B000/<secret>",
    "prometheus": "studio=http://prometheus.studio:9090,forge=http://prometheus.forge:9090",
    "loki": "studio=http://loki.studio:3100,forge=http://loki.forge:3100",
    "kubernetes": "studio=https://kubernetes.studio:6443,forge=https://kubernetes.forge:6443",
    "github": "home=https://api.github.com",
    "tempo": "studio=http://tempo.studio:3200,forge=http://tempo.forge:3200",
    "prometheus_token": "studio=<token>,forge=<token>",
    "loki_token": "studio=<token>,forge=<token>",
    "kubernetes_token": "studio=<token>,forge=<token>",
    "github_token": "home=<token>",
    "tempo_token": "studio=<token>,forge=<token>",
    "cache": "/var/cache/fuelline",
}
"""Of each setting a value that would do."""


def example(name: str) -> str:
    """How a setting is set: ``FUELLINE_STORE=s3://fuelline/lakes``."""
    return f"FUELLINE_{name.upper()}={EXAMPLES[name]}"


def wrong(name: str, reason: str) -> SettingsError:
    """The error of a setting that only a person can mend."""
    return SettingsError(_told(name, reason))


def away(name: str, reason: str) -> PeerError:
    """The error of a service that a setting names and that does not answer: it may be back, so a task tries again."""
    return PeerError(_told(name, reason))


def malformed(*names: str, told: str) -> str:
    """What is said of a setting whose value does not do; without a name, of several that do not go together."""
    reason = told.removeprefix("Value error, ")
    return _told(names[0], reason) if names else reason


def _told(name: str, reason: str) -> str:
    return f"FUELLINE_{name.upper()}: {reason.rstrip('.')}. Example: {example(name)}"


def refuse_unknown(variables: Iterable[str]) -> None:
    """See that every ``FUELLINE_`` variable is a setting: a mistyped one would leave a default in force, unseen.

    Raises:
        SettingsError: one is none; the message names the setting that is probably meant.
    """
    for variable in sorted(variables):
        prefix, _, rest = variable.upper().partition("_")
        if prefix != "FUELLINE" or rest.lower() in EXAMPLES or rest in NO_SETTINGS or re.fullmatch(SERVICE_LINK, rest):
            continue
        close = difflib.get_close_matches(rest.lower(), EXAMPLES, n=1)
        hint = (
            f"did you mean FUELLINE_{close[0].upper()}? Example: {example(close[0])}"
            if close
            else "settings.py lists all"
        )
        raise SettingsError(f"{variable} is no setting; {hint}")
