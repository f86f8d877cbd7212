"""The contracts of all data sets; ``contracts()`` lists them."""

import importlib
import pkgutil
from collections.abc import Iterable

from errors import UnknownName
from lake.contracts.base import Contract


def contracts() -> dict[str, Contract]:
    """Every contract that a module of this package declares, and their quarantines, by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    declared = [value for module in modules for value in vars(module).values() if isinstance(value, Contract)]
    quarantines = [contract.quarantine for contract in declared if contract.name.startswith("processed.")]
    return {contract.name: contract for contract in sorted(declared + quarantines, key=lambda c: c.name)}


def contract(name: str) -> Contract:
    """The contract of one data set, by its own name or by its table's. Raises ``UnknownName``."""
    return find(name, contracts().values(), "data set")


def find(name: str, known: Iterable[Contract], what: str) -> Contract:
    """The contract of this name or table. Users see tables; configurations may hold names of contracts, which stay the
    same with every version. Raises ``UnknownName`` with the nearest table.
    """
    tables = {contract.table: contract for contract in known}
    if found := tables.get(name) or {contract.name: contract for contract in tables.values()}.get(name):
        return found
    raise UnknownName(what, name, tables)
