"""The contracts of all data sets; ``contracts()`` lists them."""

import importlib
import pkgutil

from errors import UnknownName
from lake.contracts.base import Contract


def contracts() -> dict[str, Contract]:
    """Every contract that a module of this package declares, and their quarantines, by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    declared = [value for module in modules for value in vars(module).values() if isinstance(value, Contract)]
    quarantines = [contract.quarantine for contract in declared if contract.name.startswith("processed.")]
    return {contract.name: contract for contract in sorted(declared + quarantines, key=lambda c: c.name)}


def contract(name: str) -> Contract:
    """The contract of one data set. Raises ``UnknownName``."""
    known = contracts()
    if name not in known:
        raise UnknownName("data set", name, known)
    return known[name]
