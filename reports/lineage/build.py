"""The lineage of one model version: back to the raw objects and forward to its rollouts and verdicts.

Nothing is recorded for it. The ledger has what a version was trained, judged and rolled out on, and every Iceberg
snapshot names the versions or the raw object that its rows came from, so the graph is read and cannot become outdated.
A table version has the rows of all snapshots before it; those count as part of it. An expired snapshot is shown as
such, and the raw objects behind it are then taken from the ledger, which never expires.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from errors import UnknownName
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.properties import INPUTS
from models.registry.kinds import CLOSING, TRAINED, model_chain, model_names, version_name
from reports.common.ledger_text import SHORT, difference, evidence, judgement
from reports.lineage.graph import Graph, Node

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

INGESTED = "fuelline.ingested"
CHOSEN_BY_KEY = frozenset({"ml.training_sets"})
"""Tables of which a version means the rows of its own commit, and not the whole table."""


def lineage(lake: Lake, name: str) -> Graph:
    """The graph of a registered version such as ``agents@v3``.

    Raises:
        UnknownName: there is no such version; the message suggests the nearest.
    """
    entry = _registered(lake, name)
    return _Builder(lake, name, entry).graph(name, str(entry.payload["adapter_name"]))


def candidate_lineage(lake: Lake, model: str, training_key: str) -> Graph:
    """The graph of a trained candidate, registered or not, up to the decision about it.

    Raises:
        UnknownName: nothing was trained under this key.
    """
    trained = {e.payload["training_key"]: e for e in lake.ledger.entries(model_chain(model), kind=TRAINED)}
    if training_key not in trained:
        raise UnknownName("training", training_key, map(str, trained))
    entry = trained[training_key]
    label = f"Candidate {str(entry.payload['adapter_digest'])[:SHORT]}"
    return _Builder(lake, f"candidate:{training_key}", entry).graph(label, "trained")


class _Builder:
    """A graph that is being built: nodes by id, edges in order of discovery."""

    def __init__(self, lake: Lake, name: str, entry: Entry) -> None:
        self.lake, self.name, self.entry = lake, name, entry
        self.entries = lake.ledger.entries(entry.chain)
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self._covered: dict[str, str] = {}

    def graph(self, label: str, detail: str) -> Graph:
        """Build the whole graph; ``label`` and ``detail`` are those of its main node."""
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
        figures = f"{trained['steps']:,} steps, loss {trained['train_loss']:.3f}" if trained else ""
        self._add(Node(id=adapter, kind="adapter", label=f"LoRA adapter {digest}", detail=figures))
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
        """The cause of the training: a trigger's decision, or a person's request."""
        trigger = str(cause["trigger"])
        label = "By hand" if trigger == "hand" else f"Trigger: {trigger.replace('_', ' ')}"
        detail = f"{cause['by']}: {cause['reason']}" if cause["by"] else str(cause["reason"])
        node = Node(id=f"decision:{trigger}:{cause['decision']}", kind="decision", label=label, detail=detail)
        self._add(node)
        return node

    def _evaluation(self, identifier: str, key: str) -> Node:
        against = self.entry.payload.get("baseline")
        judgements = [e.payload for e in self.entries if e.kind == "judged" and e.payload["training_key"] == key]
        judged = next((judged for judged in reversed(judgements) if against in (None, judged["baseline"])), None)
        if judged is None:
            return Node(id=identifier, kind="evaluation", label="Evaluation", detail="not judged")
        label = f"{judgement(judged)} {judged['baseline']}".capitalize()
        return Node(id=identifier, kind="evaluation", label=label, detail=f"{difference(judged)} nats per token")

    def _tables(self, inputs: Iterable[str]) -> list[str]:
        """Add the tables of these names; return those with an edge to the adapter: the training set, or all of them."""
        names = list(inputs)
        for name in names:
            self._cover(name)
        for name in names:
            self._table(name)
        chosen = [name for name in names if name.partition("@")[0] in CHOSEN_BY_KEY]
        others = [name for name in names if name not in chosen]
        for name in others if chosen else []:
            self.edges[name, chosen[0]] = None
        return chosen or others

    def _table(self, name: str) -> None:
        """Add one table version and its sources."""
        if name in self.nodes:
            return
        table = name.partition("@")[0]
        past = self._past(name)
        rows = f"{_rows(table, past[0]):,} rows" if past else "this snapshot has expired"
        self._add(Node(id=name, kind="table", label=table, detail=rows))
        for snapshot in past:
            self._origins(name, snapshot)
        if not past or (past[-1].parent_snapshot_id is not None and table not in CHOSEN_BY_KEY):
            self._from_ledger(name)

    def _cover(self, name: str) -> None:
        """A version includes the ones before it: what was made from one of those is shown as made from it."""
        for snapshot in self._past(name):
            self._covered.setdefault(f"{name.partition('@')[0]}@{snapshot.snapshot_id}", name)

    def _past(self, name: str) -> "list[Snapshot]":
        """The snapshots whose rows are part of a version, newest first; none if it has expired."""
        table_name, _, snapshot = name.partition("@")
        table = self._load(table_name)
        own = table.snapshot_by_id(int(snapshot)) if table else None
        if table is None or own is None:
            return []
        return [own] if table_name in CHOSEN_BY_KEY else list(_past(table, own))

    def _origins(self, name: str, snapshot: "Snapshot") -> None:
        properties = snapshot.summary.additional_properties if snapshot.summary else {}
        if INGESTED in properties:
            self._raw(name, json.loads(properties[INGESTED]))
        for source in json.loads(properties.get(INPUTS, "[]")):
            self._table(covering := self._covered.get(source, source))
            self.edges[covering, name] = None

    def _raw(self, table: str, ingested: dict[str, Any]) -> None:
        """Add a raw object with its rows, and the lines of it that were quarantined."""
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
        """Add raw objects whose snapshots have expired, by the ledger entries before the version was registered."""
        table = name.partition("@")[0]
        for chain in self.lake.ledger.chains("sources/"):
            for entry in self.lake.ledger.entries(chain, until=self.entry.time, kind="ingested"):
                if entry.key.startswith(f"ingest:{table}:") and entry.payload["object"] not in self.nodes:
                    self._raw(name, entry.payload)

    def _rollout(self) -> None:
        """From the version forward: rollout, verdict, and the version that replaced it."""
        last = self.name
        for entry in self.entries:
            if entry.seq > self.entry.seq and (node := self._event(entry)):
                self._add(node)
                self.edges[last, node.id] = None
                last = node.id

    def _event(self, entry: Entry) -> Node | None:
        detail = f"{entry.time:%Y-%m-%d %H:%M}: {evidence(entry)}"
        version = version_name(entry)
        if version == self.name and entry.kind == "rollout_opened":
            return Node(id=entry.key, kind="rollout", label="Rollout opened", detail=detail)
        if version == self.name and entry.kind in CLOSING:
            label = entry.kind.replace("_", " ").capitalize()
            return Node(id=f"{entry.key}:{entry.kind}", kind="verdict", label=label, detail=detail)
        if entry.kind == "not_registered" and self.name == f"candidate:{entry.payload['training_key']}":
            return Node(id=entry.key, kind="verdict", label="Not registered", detail=detail)
        if entry.kind == "promoted" and entry.payload.get("baseline") == self.name:
            when = f"{entry.time:%Y-%m-%d %H:%M}"
            return Node(id=entry.key, kind="verdict", label=f"Replaced by {version}", detail=when)
        return None

    def _add(self, node: Node) -> None:
        self.nodes.setdefault(node.id, node)

    def _load(self, name: str) -> "Table | None":
        try:
            return self.lake.tables.load(name)
        except UnknownName:
            return None


def _registered(lake: Lake, name: str) -> Entry:
    chain = model_chain(name.partition("@")[0])
    known = {version_name(entry): entry for entry in lake.ledger.entries(chain, kind="registered")}
    if name not in known:
        models = model_names(lake.ledger)
        raise UnknownName("model version (MODEL@v1)", name, known or models)
    return known[name]


def _past(table: "Table", snapshot: "Snapshot") -> "Iterator[Snapshot]":
    """A snapshot and those before it that exist, newest first."""
    current: Snapshot | None = snapshot
    while current is not None:
        yield current
        parent = current.parent_snapshot_id
        current = table.snapshot_by_id(parent) if parent is not None else None


def _rows(table: str, snapshot: "Snapshot") -> int:
    counted = "added-records" if table in CHOSEN_BY_KEY else "total-records"
    return int((snapshot.summary and snapshot.summary.get(counted)) or 0)


def _raw_label(key: str) -> str:
    """``agents 2026-11-08 3f9c2a71`` of ``raw/agents/2026-11-08/3f9c2a71….jsonl.gz``."""
    parts = key.split("/")
    return " ".join([*parts[1:-1], parts[-1][:SHORT]])


def _count(member: str) -> tuple[str, int]:
    reason, _, count = member.rpartition(": ")
    return reason, int(count)
