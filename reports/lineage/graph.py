"""The lineage graph of a model version: nodes, edges, and the folding of its many raw objects into one node."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any


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


def folded(graph: Graph, above: int = 6) -> Graph:
    """The graph with its raw objects as one node, if there are more than ``above``."""
    raw = [node for node in graph.nodes if node.kind == "raw"]
    if len(raw) <= above:
        return graph
    days = sorted({parts[-2] for node in raw if len(parts := node.id.split("/")) >= 4})
    span = f", {days[0]} to {days[-1]}" if len(days) > 1 else "".join(f", {day}" for day in days)
    hidden = [node.id for node in raw]
    together = Node(id="raw", kind="raw", label=f"{len(raw)} raw objects", detail=f"landed{span}"[:60], members=hidden)
    ids = dict.fromkeys(hidden, together.id)
    edges = dict.fromkeys((ids.get(source, source), ids.get(target, target)) for source, target in graph.edges)
    return replace(graph, nodes=[together, *(node for node in graph.nodes if node.kind != "raw")], edges=list(edges))
