"""The lineage graph of a model version: nodes, edges, and the folding of its many raw objects into one node."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

FOLD_ABOVE = 6
"""Raw objects that a picture shows one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node: an object, a table version, a model or an event."""

    id: str
    kind: str
    """raw, quarantine, table, base, decision, adapter, evaluation, version, rollout or verdict."""
    label: str
    detail: str = ""
    members: list[str] = field(default_factory=list)
    """Ids of the nodes that are folded into it, or the counts of a quarantine by reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Nodes and (source, target) edges from raw objects to verdicts, without cycles."""

    name: str
    """The model version that the graph is about, and the id of its node."""
    nodes: list[Node]
    edges: list[tuple[str, str]]

    def node(self, identifier: str) -> Node:
        """The node with this id. Raises ``StopIteration`` where there is none."""
        return next(node for node in self.nodes if node.id == identifier)

    def sources(self, identifier: str) -> list[Node]:
        """The nodes that a node was made from."""
        return [self.node(source) for source, target in self.edges if target == identifier]

    def targets(self, identifier: str) -> list[Node]:
        """The nodes that were made from a node."""
        return [self.node(target) for source, target in self.edges if source == identifier]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "nodes": [asdict(node) for node in self.nodes], "edges": list(map(list, self.edges))}


def folded(graph: Graph, above: int = FOLD_ABOVE) -> Graph:
    """The graph with its raw objects as one node, if there are more than ``above``."""
    raw = [node for node in graph.nodes if node.kind == "raw"]
    if len(raw) <= above:
        return graph
    days = sorted({day for node in raw if (day := _day(node.id))})
    span = f", {days[0]} to {days[-1]}" if len(days) > 1 else f", {days[0]}" if days else ""
    together = Node(
        id="raw", kind="raw", label=f"{len(raw)} raw objects", detail=f"landed{span}"[:60], members=[n.id for n in raw]
    )
    hidden = {node.id for node in raw}
    edges = dict.fromkeys(
        (together.id if s in hidden else s, together.id if t in hidden else t) for s, t in graph.edges
    )
    return replace(graph, nodes=[together, *(node for node in graph.nodes if node.id not in hidden)], edges=list(edges))


def _day(key: str) -> str:
    parts = key.split("/")
    return parts[-2] if len(parts) >= 4 else ""
