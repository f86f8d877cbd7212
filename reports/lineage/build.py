"""The lineage of one model version: back to the raw objects and forward to its rollouts and verdicts.

Nothing is recorded for it. The ledger has what a version was trained, judged and rolled out on, and every Iceberg
snapshot names the versions or the raw object that its rows came from, so the graph is read and cannot become outdated.
A table version has the rows of all snapshots before it; those count as part of it. An expired snapshot is shown as
such, and the raw objects behind it are then taken from the ledger, which never expires.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from errors import UnknownName
from lake.lake import Lake
from lake.store.ledger import Entry
from lake.tables.properties import INPUTS
from models.registry.kinds import CLOSING, TRAINED, model_chain, version_name
from models.registry.registry import registered_entry
from reports.common.ledger_text import SHORT, difference, evidence, judgement, words
from reports.lineage.graph import Graph, Node

if TYPE_CHECKING:
    from pyiceberg.table.snapshots import Snapshot

INGESTED = "fuelline.ingested"
CHOSEN_BY_KEY = frozenset({"ml.training_sets"})
"""Tables of which a version means the rows of its own commit, and not the whole table."""


def lineage(lake: Lake, name: str) -> Graph:
    """The graph of a registered version such as ``agents@v3``."""
    entry = registered_entry(lake.ledger, name)
    return _Builder(lake, name, entry).graph(name, str(entry.payload["adapter_name"]))


def candidate_lineage(lake: Lake, model: str, training_key: str) -> Graph:
    """The graph of a trained candidate, registered or not, up to the decision about it."""
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
        self._rejected: dict[str, Counter[str]] = defaultdict(Counter)

    def graph(self, label: str, detail: str) -> Graph:
        """Build the whole graph; ``label`` and ``detail`` are those of its main node."""
        when = f"{self.entry.time:%Y-%m-%d %H:%M}"
        self._add(Node(id=self.name, kind="version", label=label, detail=f"{detail}, {when}"))
        self._training()
        last = self.name  # from the version forward: rollout, verdict, and the version that replaced it
        for entry in self.entries:
            if entry.seq > self.entry.seq and (node := self._event(entry)):
                self._add(node)
                self.edges[last, node.id] = None
                last = node.id
        return Graph(name=self.name, nodes=list(self.nodes.values()), edges=list(self.edges))

    def _training(self) -> None:
        """From the version back: evaluation, adapter, base model, tables, raw objects."""
        key = str(self.entry.payload["training_key"])
        adapter, judged = f"adapter:{key}", f"evaluation:{key}"
        ours = [entry for entry in self.entries if entry.payload.get("training_key") == key]
        trained = next((entry.payload for entry in ours if entry.kind == "trained"), {})
        digest = str(trained.get("adapter_digest") or self.entry.payload.get("digest"))[:SHORT]
        figures = f"{trained['steps']:,} steps, loss {trained['train_loss']:.3f}" if trained else ""
        self._add(Node(id=adapter, kind="adapter", label=f"LoRA adapter {digest}", detail=figures), judged)
        label, detail = self._evaluation([entry.payload for entry in ours if entry.kind == "judged"])
        self._add(Node(id=judged, kind="evaluation", label=label, detail=detail), self.name)
        self.edges[adapter, self.name] = None
        if base := trained.get("base_digest"):
            self._add(Node(id=f"base:{base}", kind="base", label="Base model", detail=str(base)[:SHORT]), adapter)
        if cause := trained.get("cause"):
            self._add(_decision(cause), adapter)
        for table in self._tables(self.entry.payload["inputs"]):
            self.edges[table, adapter] = None
            self.edges[table, judged] = None

    def _evaluation(self, judgements: list[dict[str, Any]]) -> tuple[str, str]:
        """Label and detail of the newest judgement against the version's baseline."""
        against = self.entry.payload.get("baseline")
        for judged in reversed(judgements):
            if against in (None, judged["baseline"]):
                label = f"{judgement(judged)} {judged['baseline']}".capitalize()
                return label, f"{difference(judged)} nats per token"
        return "Evaluation", "not judged"

    def _tables(self, inputs: Iterable[str]) -> list[str]:
        """Add the tables of these names; return those with an edge to the adapter: the training set, or all of them."""
        names = list(inputs)
        for name in names:  # a version includes the ones before it: what was made of one of those is shown as of it
            for snapshot in self._past(name):
                self._covered.setdefault(f"{name.partition('@')[0]}@{snapshot.snapshot_id}", name)
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

    def _past(self, name: str) -> "list[Snapshot]":
        """The snapshots that exist whose rows are part of a version, newest first; none if it has expired."""
        table_name, _, number = name.partition("@")
        past: list[Snapshot] = []
        try:
            table = self.lake.tables.load(table_name)
        except UnknownName:
            return past
        parent: int | None = int(number)
        while parent is not None and (snapshot := table.snapshot_by_id(parent)):
            past.append(snapshot)
            parent = None if table_name in CHOSEN_BY_KEY else snapshot.parent_snapshot_id
        return past

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
        *folders, file = identifier.split("/")[1:]  # of raw/agents/2026-11-08/3f9c2a71….jsonl.gz
        self._add(Node(id=identifier, kind="raw", label=" ".join([*folders, file[:SHORT]]), detail=detail), table)
        if ingested["quarantined"]:
            name = f"quarantine.{table.partition('@')[0].partition('.')[2]}"
            reasons = self._rejected[name]
            reasons.update(ingested["reasons"])
            members = [f"{reason}: {count}" for reason, count in sorted(reasons.items())]
            detail = f"{reasons.total():,} lines, {len(reasons)} reason{'s' if len(reasons) > 1 else ''}"
            self.nodes[name] = Node(id=name, kind="quarantine", label=name, detail=detail, members=members)
            self.edges[identifier, name] = None

    def _from_ledger(self, name: str) -> None:
        """Add raw objects whose snapshots have expired, by the ledger entries before the version was registered."""
        table = name.partition("@")[0]
        for chain in self.lake.ledger.chains("sources/"):
            for entry in self.lake.ledger.entries(chain, until=self.entry.time, kind="ingested"):
                if entry.key.startswith(f"ingest:{table}:") and entry.payload["object"] not in self.nodes:
                    self._raw(name, entry.payload)

    def _event(self, entry: Entry) -> Node | None:
        detail = f"{entry.time:%Y-%m-%d %H:%M}: {evidence(entry)}"
        version = version_name(entry)
        if version == self.name and entry.kind == "rollout_opened":
            return Node(id=entry.key, kind="rollout", label="Rollout opened", detail=detail)
        if version == self.name and entry.kind in CLOSING:
            label = words(entry.kind).capitalize()
            return Node(id=f"{entry.key}:{entry.kind}", kind="verdict", label=label, detail=detail)
        if entry.kind == "not_registered" and self.name == f"candidate:{entry.payload['training_key']}":
            return Node(id=entry.key, kind="verdict", label="Not registered", detail=detail)
        if entry.kind == "promoted" and entry.payload.get("baseline") == self.name:
            when = f"{entry.time:%Y-%m-%d %H:%M}"
            return Node(id=entry.key, kind="verdict", label=f"Replaced by {version}", detail=when)
        return None

    def _add(self, node: Node, *targets: str) -> None:
        """Add a node, unless it is there, and its edges to these targets."""
        self.nodes.setdefault(node.id, node)
        self.edges |= dict.fromkeys((node.id, target) for target in targets)


def _decision(cause: dict[str, Any]) -> Node:
    """The cause of the training: a trigger's decision, or a person's request."""
    trigger = str(cause["trigger"])
    label = "By hand" if trigger == "hand" else f"Trigger: {words(trigger)}"
    detail = f"{cause['by']}: {cause['reason']}" if cause["by"] else str(cause["reason"])
    return Node(id=f"decision:{trigger}:{cause['decision']}", kind="decision", label=label, detail=detail)


def _rows(table: str, snapshot: "Snapshot") -> int:
    counted = "added-records" if table in CHOSEN_BY_KEY else "total-records"
    return int((snapshot.summary and snapshot.summary.get(counted)) or 0)
