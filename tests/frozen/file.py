"""``names.yaml``: by section, why its names must not change (``why``), and the names."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("names.yaml")
PACKAGES = ("cli", "features", "lake", "launchplans", "models", "reports", "serving", "tasks", "workflows")
"""Where the names come from."""


@cache
def recorded() -> dict[str, Any]:
    """The file as it stands."""
    sections: dict[str, Any] = yaml.load(FILE.read_text(), yaml.CSafeLoader)
    return sections
