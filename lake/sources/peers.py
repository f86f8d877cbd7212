"""Every data set that is pulled, and how. A new source is one module and one line here."""

from collections.abc import Mapping

from errors import UnknownName
from lake.sources.fetching import Pullable
from lake.sources.prometheus import metric_rows

PULLED: Mapping[str, Pullable] = {
    "processed.metrics": Pullable(peer="prometheus", rows=metric_rows),
}


def pullable(data_set: str) -> Pullable:
    """How a data set is pulled. Raises ``UnknownName``."""
    if data_set not in PULLED:
        raise UnknownName("pulled data set", data_set, PULLED)
    return PULLED[data_set]
