"""The lineage of one model version: back to the raw objects and forward to what became of it.

Nothing is recorded for it. The ledger says what a version was trained, judged and rolled out on, and every Iceberg
snapshot says which versions or which raw object its rows came from, so the graph is read and cannot go out of date.
A table version holds the rows of all snapshots before it; those count as part of it. An expired snapshot is shown as
such, and the raw objects behind it are then taken from the ledger, which never expires.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from errors import UnknownName
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.properties import INPUTS
from models.registry.kinds import CLOSING, version_name
from reports.common.ledger_text import SHORT, difference, evidence, judgement

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

INGESTED = "fuelline.ingested"
CHOSEN_BY_KEY = frozenset({"ml.training_sets"})
"""Tables of which a version stands for the rows of its own commit, not for the whole table."""
FOLD_ABOVE = 6
"""Raw objects that a picture shows one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One thing of the graph."""

    id: str
    kind: str
    """raw, quarantine, table, base, decision, adapter, evaluation, version, rollout or verdict."""
    label: str
    detail: str = ""
    members: list[str] = field(default_factory=list)
    """What stands folded in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Nodes and (source, target) edges, from raw objects to verdicts; without cycles."""

    name: str
    """The model version it is about, and the id of its node."""
    nodes: list[Node]
    edges: list[tuple[str, str]]

    def node(self, identifier: str) -> Node:
        """The node with this id. Raises ``StopIteration`` where there is none."""
        return next(node for node in self.nodes if node.id == identifier)

    def sources(self, identifier: str) -> list[Node]:
        """What a node was made from."""
        return [self.node(source) for source, target in self.edges if target == identifier]

    def targets(self, identifier: str) -> list[Node]:
        """What was made from a node."""
        return [self.node(target) for source, target in self.edges if source == identifier]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "nodes": [asdict(node) for node in self.nodes], "edges": list(map(list, self.edges))}


def lineage(lake: Lake, name: str) -> Graph:
    """The graph of a registered version such as ``agents@v3``.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
    """
    entry = _registered(lake, name)
    return _Draft(lake, name, entry).graph(name, str(entry.payload["adapter_name"]))


def candidate_lineage(lake: Lake, model: str, training_key: str) -> Graph:
    """The graph of a trained candidate, registered or not, up to what was decided about it.

    Raises:
        UnknownName: nothing was trained under this key.
    """
    trained = {e.payload["training_key"]: e for e in lake.ledger.entries(f"models/{model}", kind="trained")}
    if training_key not in trained:
        raise UnknownName("training", training_key, map(str, trained))
    entry = trained[training_key]
    label = f"Candidate {str(entry.payload['adapter_digest'])[:SHORT]}"
    return _Draft(lake, f"candidate:{training_key}", entry).graph(label, "trained")


def folded(graph: Graph, above: int = FOLD_ABOVE) -> Graph:
    """The graph with its raw objects as one node, where there are more than ``above``."""
    raw = [node for node in graph.nodes if node.kind == "raw"]
    if len(raw) <= above:
        return graph
    days = sorted({day for node in raw if (day := _day(node.id))})
    span = f", {days[0]} to {days[-1]}" if len(days) > 1 else f", {days[0]}" if days else ""
    one = Node(
        id="raw", kind="raw", label=f"{len(raw)} raw objects", detail=f"landed{span}"[:60], members=[n.id for n in raw]
    )
    hidden = {node.id for node in raw}
    edges = dict.fromkeys((one.id if s in hidden else s, one.id if t in hidden else t) for s, t in graph.edges)
    return replace(graph, nodes=[one, *(node for node in graph.nodes if node.id not in hidden)], edges=list(edges))


class _Draft:
    """A graph in the making: nodes by id, edges in order of discovery."""

    def __init__(self, lake: Lake, name: str, entry: Entry) -> None:
        self.lake, self.name, self.entry = lake, name, entry
        self.entries = lake.ledger.entries(entry.chain)
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self._covered: dict[str, str] = {}

    def graph(self, label: str, detail: str) -> Graph:
        """All of it; ``label`` and ``detail`` are of the node that it is about."""
        when = f"{self.entry.time:%Y-%m-%d %H:%M}"
        self._add(Node(id=self.name, kind="version", label=label, detail=f"{detail}, {when}"))
        self._training()
        self._rollout()
        return Graph(name=self.name, nodes=list(self.nodes.values()), edges=list(self.edges))

    def _training(self) -> None:
        """From the version back: evaluation, adapter, base model, tables, raw objects."""
        key = str(self.entry.payload["training_key"])
        adapter, judged = f"adapter:{key}", f"evaluation:{key}"
        trained = next(
            (e.payload for e in self.entries if e.kind == "trained" and e.payload["training_key"] == key), {}
        )
        digest = str(trained.get("adapter_digest") or self.entry.payload.get("digest"))[:SHORT]
        told = f"{trained['steps']:,} steps, loss {trained['train_loss']:.3f}" if trained else ""
        self._add(Node(id=adapter, kind="adapter", label=f"LoRA adapter {digest}", detail=told))
        self._add(self._evaluation(judged, key))
        for source, target in ((adapter, judged), (judged, self.name), (adapter, self.name)):
            self.edges[source, target] = None
        if base := trained.get("base_digest"):
            self._add(Node(id=f"base:{base}", kind="base", label="Base model", detail=str(base)[:SHORT]))
            self.edges[f"base:{base}", adapter] = None
        if cause := trained.get("cause"):
            decision = self._decision(cause)
            self.edges[decision.id, adapter] = None
        for table in self._tables(self.entry.payload["inputs"]):
            self.edges[table, adapter] = None
            self.edges[table, judged] = None

    def _decision(self, cause: dict[str, Any]) -> Node:
        """Why it was trained: a trigger's decision, or a person's word."""
        trigger = str(cause["trigger"])
        label = "By hand" if trigger == "hand" else f"Trigger: {trigger.replace('_', ' ')}"
        detail = f"{cause['by']}: {cause['reason']}" if cause["by"] else str(cause["reason"])
        node = Node(id=f"decision:{trigger}:{cause['decision']}", kind="decision", label=label, detail=detail)
        self._add(node)
        return node

    def _evaluation(self, identifier: str, key: str) -> Node:
        against = self.entry.payload.get("baseline")
        stated = [e.payload for e in self.entries if e.kind == "judged" and e.payload["training_key"] == key]
        judged = next((one for one in reversed(stated) if against in (None, one["baseline"])), None)
        if judged is None:
            return Node(id=identifier, kind="evaluation", label="Evaluation", detail="not judged")
        label = f"{judgement(judged)} {judged['baseline']}".capitalize()
        return Node(id=identifier, kind="evaluation", label=label, detail=f"{difference(judged)} nats per token")

    def _tables(self, inputs: Iterable[str]) -> list[str]:
        """Add the tables behind these names; return those that lead to the adapter: the training set, or all."""
        names = list(inputs)
        for name in names:
            self._cover(name)
        for name in names:
            self._table(name)
        chosen = [name for name in names if name.partition("@")[0] in CHOSEN_BY_KEY]
        loose = [name for name in names if name not in chosen]
        for name in loose if chosen else []:
            self.edges[name, chosen[0]] = None
        return chosen or loose

    def _table(self, name: str) -> None:
        """Add one table version, and what it was made from."""
        if name in self.nodes:
            return
        table = name.partition("@")[0]
        past = self._past(name)
        told = f"{_rows(table, past[0]):,} rows" if past else "this snapshot has expired"
        self._add(Node(id=name, kind="table", label=table, detail=told))
        for one in past:
            self._origins(name, one)
        if not past or (past[-1].parent_snapshot_id is not None and table not in CHOSEN_BY_KEY):
            self._from_ledger(name)

    def _cover(self, name: str) -> None:
        """A version stands for those before it: what was made from one of them is shown as made from it."""
        for one in self._past(name):
            self._covered.setdefault(f"{name.partition('@')[0]}@{one.snapshot_id}", name)

    def _past(self, name: str) -> "list[Snapshot]":
        """The snapshots whose rows a version stands for, newest first; none where it has expired."""
        table_name, _, snapshot = name.partition("@")
        table = self._load(table_name)
        own = table.snapshot_by_id(int(snapshot)) if table else None
        if table is None or own is None:
            return []
        return [own] if table_name in CHOSEN_BY_KEY else list(_past(table, own))

    def _origins(self, name: str, snapshot: "Snapshot") -> None:
        stated = snapshot.summary.additional_properties if snapshot.summary else {}
        if INGESTED in stated:
            self._raw(name, json.loads(stated[INGESTED]))
        for source in json.loads(stated.get(INPUTS, "[]")):
            self._table(covering := self._covered.get(source, source))
            self.edges[covering, name] = None

    def _raw(self, table: str, ingested: dict[str, Any]) -> None:
        """A raw object, the rows it brought, and the lines that went to quarantine."""
        identifier = str(ingested["object"])
        detail = f"{ingested['committed']:,} of {ingested['landed']:,} lines committed"
        self._add(Node(id=identifier, kind="raw", label=_raw_label(identifier), detail=detail))
        self.edges[identifier, table] = None
        if ingested["quarantined"]:
            quarantine = f"quarantine.{table.partition('@')[0].partition('.')[2]}"
            known = self.nodes.get(quarantine)
            reasons = Counter(ingested["reasons"]) + Counter(dict(map(_count, known.members)) if known else {})
            members = [f"{reason}: {count}" for reason, count in sorted(reasons.items())]
            detail = f"{sum(reasons.values()):,} lines, {len(reasons)} reason{'s' if len(reasons) > 1 else ''}"
            self.nodes[quarantine] = Node(
                id=quarantine, kind="quarantine", label=quarantine, detail=detail, members=members
            )
            self.edges[identifier, quarantine] = None

    def _from_ledger(self, name: str) -> None:
        """Raw objects whose snapshots have expired, as the ledger recorded them before the version was registered."""
        table = name.partition("@")[0]
        for chain in self.lake.ledger.chains("sources/"):
            for entry in self.lake.ledger.entries(chain, until=self.entry.time, kind="ingested"):
                if entry.key.startswith(f"ingest:{table}:") and entry.payload["object"] not in self.nodes:
                    self._raw(name, entry.payload)

    def _rollout(self) -> None:
        """From the version on: rollout, verdict, and the version that replaced it."""
        last = self.name
        for entry in self.entries:
            if entry.seq > self.entry.seq and (node := self._event(entry)):
                self._add(node)
                self.edges[last, node.id] = None
                last = node.id

    def _event(self, entry: Entry) -> Node | None:
        told = f"{entry.time:%Y-%m-%d %H:%M}: {evidence(entry)}"
        about = version_name(entry)
        if about == self.name and entry.kind == "rollout_opened":
            return Node(id=entry.key, kind="rollout", label="Rollout opened", detail=told)
        if about == self.name and entry.kind in CLOSING:
            label = entry.kind.replace("_", " ").capitalize()
            return Node(id=f"{entry.key}:{entry.kind}", kind="verdict", label=label, detail=told)
        if entry.kind == "not_registered" and self.name == f"candidate:{entry.payload['training_key']}":
            return Node(id=entry.key, kind="verdict", label="Not registered", detail=told)
        if entry.kind == "promoted" and entry.payload.get("baseline") == self.name:
            when = f"{entry.time:%Y-%m-%d %H:%M}"
            return Node(id=entry.key, kind="verdict", label=f"Replaced by {about}", detail=when)
        return None

    def _add(self, node: Node) -> None:
        self.nodes.setdefault(node.id, node)

    def _load(self, name: str) -> "Table | None":
        try:
            return self.lake.tables.load(name)
        except UnknownName:
            return None


def _registered(lake: Lake, name: str) -> Entry:
    chain = f"models/{name.partition('@')[0]}"
    known = {version_name(entry): entry for entry in lake.ledger.entries(chain, kind="registered")}
    if name not in known:
        models = [one.removeprefix("models/") for one in lake.ledger.chains("models/")]
        raise UnknownName("model version (MODEL@v1)", name, known or models)
    return known[name]


def _past(table: "Table", snapshot: "Snapshot") -> "Iterator[Snapshot]":
    """A snapshot and those before it, newest first, as far back as there are any."""
    one: Snapshot | None = snapshot
    while one is not None:
        yield one
        one = table.snapshot_by_id(one.parent_snapshot_id) if one.parent_snapshot_id is not None else None


def _rows(table: str, snapshot: "Snapshot") -> int:
    counted = "added-records" if table in CHOSEN_BY_KEY else "total-records"
    return int((snapshot.summary and snapshot.summary.get(counted)) or 0)


def _raw_label(key: str) -> str:
    """``agents 2026-11-08 3f9c2a71`` of ``raw/agents/2026-11-08/3f9c2a71….jsonl.gz``."""
    parts = key.split("/")
    return " ".join([*parts[1:-1], parts[-1][:SHORT]])


def _day(key: str) -> str:
    parts = key.split("/")
    return parts[-2] if len(parts) >= 4 else ""


def _count(member: str) -> tuple[str, int]:
    reason, _, count = member.rpartition(": ")
    return reason, int(count)
