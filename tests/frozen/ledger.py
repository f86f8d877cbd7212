"""Every entry that the code writes to a ledger in a test, against the frozen names of the ledger.

``guard`` stands between the code and ``Ledger.append`` for the whole run: an entry of a new kind, in another chain,
under another kind of key, or with a name in its payload gone or new, fails the test that wrote it.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest

from lake.store.ledger import Entry, Ledger
from tests.frozen.file import PACKAGES, recorded


def guard(patch: pytest.MonkeyPatch) -> None:
    """Check what the code (not a test itself) appends."""
    append = Ledger.append

    def checked(self: Ledger, chain: str, kind: str, key: str, payload: Mapping[str, Any], *more: Any) -> Entry:
        entry = append(self, chain, kind, key, payload, *more)
        if sys._getframe(1).f_globals["__name__"].split(".")[0] in PACKAGES:
            assert not (found := faults(chain, kind, key, payload)), "; ".join([*found, *_why()])
        return entry

    patch.setattr(Ledger, "append", checked)


def faults(chain: str, kind: str, key: str, payload: Mapping[str, Any]) -> list[str]:
    """How an entry differs from the form that entries of its kind have."""
    if kind not in forms():
        return [f"the ledger has no kind {kind!r}"]
    form = forms()[kind]
    names = set(paths(json.loads(json.dumps(payload))))
    known = [*form["always"], *form.get("sometimes", ())]
    found = [] if fnmatchcase(chain, form["chain"]) else [f"{kind}: it stands in chain {chain!r}, not {form['chain']}"]
    if not any(fnmatchcase(key, pattern) for pattern in form["keys"]):
        found.append(f"{kind}: its key is {key!r}, not one of {form['keys']}")
    found += [f"{kind}: {name!r} is missing in its payload" for name in form["always"] if not _is_in(name, names)]
    return found + [f"{kind}: {name!r} in its payload is new" for name in sorted(names) if not _is_known(name, known)]


@cache
def forms() -> dict[str, dict[str, Any]]:
    """The form of each kind of entries."""
    return {kind: form for form in recorded()["ledger"]["names"] for kind in form["kinds"]}


def names() -> set[str]:
    """All names in payloads."""
    listed = {name for form in forms().values() for name in (*form["always"], *form.get("sometimes", ()))}
    return {part for name in listed for part in name.replace("[]", "").split(".") if part != "*"}


def paths(plain: Any, path: str = "") -> Iterator[str]:
    """The names of all values, such as ``agents[].low``; the name alone of what is empty."""
    if isinstance(plain, dict) and plain:
        for name, part in plain.items():
            yield from paths(part, f"{path}.{name}" if path else name)
    elif isinstance(plain, list) and plain:
        for part in plain:
            yield from paths(part, f"{path}[]")
    else:
        yield path


def _is_in(name: str, names: set[str]) -> bool:
    """Whether it is there, or is part of something that is there and empty."""
    return any(pattern == name or name.startswith((f"{pattern}.", f"{pattern}[")) for pattern in names)


def _is_known(name: str, known: list[str]) -> bool:
    return any(
        name == pattern
        or pattern.startswith((f"{name}.", f"{name}["))
        or (pattern.endswith("*") and fnmatchcase(f"{name}.", pattern))
        for pattern in known
    )


def _why() -> list[str]:
    return [recorded()["ledger"]["why"], "The file is tests/frozen/names.yaml"]
