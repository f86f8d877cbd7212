"""The bucket's lifecycle rules, derived from the contracts: raw objects move to a cold tier, then expire.

``fuelline docs bucket-lifecycle`` prints them as S3 accepts them, for the lake of the settings::

    fuelline docs bucket-lifecycle --tier COLD > rules.json
    aws s3api put-bucket-lifecycle-configuration --bucket fuelline --lifecycle-configuration file://rules.json

MinIO accepts the same document (``mc ilm rule import``), with the name of its remote tier as the storage class. The
rules replace all rules of the bucket. Tables have none: their files are shared by snapshots, and only retention and the
daily maintenance know which of them may be deleted.
"""

from collections.abc import Iterable

from errors import SettingsError
from lake.contracts.base import Contract
from settings import Settings

STALE_UPLOAD_DAYS = 3
"""Age at which the parts of an interrupted upload are removed."""
Rule = dict[str, object]


def lifecycle(declared: Iterable[Contract], settings: Settings, tier: str) -> dict[str, list[Rule]]:
    """The document: one rule for each source of a contract; ``tier`` is the storage class of the cold tier.

    Raises:
        SettingsError: ``FUELLINE_STORE`` is not a bucket.
    """
    if not settings.store_address.startswith("s3://"):
        raise SettingsError(
            f"FUELLINE_STORE is {settings.store_address}: a folder has no lifecycle rules; set s3://bucket/prefix"
        )
    prefix = settings.store_address.removeprefix("s3://").partition("/")[2]
    raw = f"{prefix}/raw" if prefix else "raw"
    return {"Rules": [_rule(contract, raw, tier) for contract in declared if contract.source]}


def _rule(contract: Contract, raw: str, tier: str) -> Rule:
    rule: Rule = {
        "ID": f"raw-{contract.source}",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{raw}/{contract.source}/"},
        "Expiration": {"Days": contract.retention_days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STALE_UPLOAD_DAYS},
    }
    if contract.raw_retention_days < contract.retention_days:
        rule["Transitions"] = [{"Days": contract.raw_retention_days, "StorageClass": tier}]
    return rule
