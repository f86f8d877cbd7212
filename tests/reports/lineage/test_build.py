"""The lineage of a version, on a lake whose tables are real."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from errors import UnknownName
from lake.contracts.agent_interactions import AGENT_INTERACTIONS
from lake.contracts.telemetry import METRICS
from lake.ingest.pipeline import Ingester
from lake.lake import Lake
from reports.lineage.build import lineage
from reports.lineage.graph import Graph, Node, folded
from reports.lineage.render import as_svg, as_text
from settings import Settings, read_settings
from tests.features import clusters
from tests.world import operated


@pytest.fixture(scope="module")
def operated_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("operated")
    lake = operated.empty_lake(read_settings(home=folder / "home", lake="test"))
    operated.build_and_record_training(lake, operated.ingest(lake, operated.write_logs(folder / "first", 0, 8)), 1)
    operated.roll_out(lake, 1)
    more = operated.ingest(lake, operated.write_logs(folder / "second", 8, 3))
    operated.build_and_record_training(lake, more, 2, baseline="agents@v1")
    operated.roll_out(lake, 2, baseline="agents@v1")
    return lake


def kinds(nodes: list[Node]) -> list[str]:
    return [node.kind for node in nodes]


def raw_objects(graph: Graph) -> set[str]:
    return {node.id for node in graph.nodes if node.kind == "raw"}


def test_a_version_leads_back_to_its_raw_objects_and_to_no_later_ones(operated_lake: Lake) -> None:
    landed = [str(e.payload["object"]) for e in operated_lake.ledger.entries("sources/agents", kind="landed")]
    assert raw_objects(lineage(operated_lake, "agents@v1")) == set(landed[:8])
    assert raw_objects(lineage(operated_lake, "agents@v2")) == set(landed)


def test_every_step_back_is_in_the_graph(operated_lake: Lake) -> None:
    graph = lineage(operated_lake, "agents@v2")
    assert sorted(kinds(graph.sources("agents@v2"))) == ["adapter", "evaluation"]
    adapter = next(node for node in graph.nodes if node.kind == "adapter")
    sources = {node.label: node.id for node in graph.sources(adapter.id)}
    assert set(sources) == {"Base model", "Trigger: volume", "ml.training_sets"}
    assert graph.node(sources["Trigger: volume"]).detail == "12,000 new interactions."
    inputs = {node.label: node.id for node in graph.sources(sources["ml.training_sets"])}
    assert set(inputs) == {"processed.agent_interactions", "ml.user_features", "ml.agent_features"}
    assert [n.id for n in graph.sources(inputs["ml.user_features"])] == [inputs["processed.agent_interactions"]]
    assert kinds(graph.sources(inputs["processed.agent_interactions"])) == ["raw"] * 11


def test_cluster_data_are_among_the_sources_of_a_version(tmp_path: Path) -> None:
    lake = operated.empty_lake(read_settings(home=tmp_path / "home", lake="test"))
    restarts = clusters.series(
        "kube_pod_container_status_restarts_total", operated.START, [0.0] * 60, namespace="agents"
    )
    rows = [{**row, "timestamp": row["timestamp"].isoformat()} for row in restarts]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    Ingester(lake, METRICS, "prometheus-studio").ingest_file(tmp_path / "rows.jsonl")
    operated.build_and_record_training(lake, operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 8)), 1)
    operated.roll_out(lake, 1)
    graph = lineage(lake, "agents@v1")
    at = next(node for node in graph.nodes if node.label == "ml.infrastructure_features").id
    [measured] = graph.sources(at)
    assert measured.label == "processed.metrics"
    assert kinds(graph.sources(measured.id)) == ["raw"]
    assert "ml.training_sets" in {node.label for node in graph.targets(at)}


def test_a_version_leads_forward_to_its_rollout_its_verdict_and_its_successor(operated_lake: Lake) -> None:
    graph = lineage(operated_lake, "agents@v1")
    labels, at = [], "agents@v1"
    while following := graph.targets(at):
        labels.append(following[0].label)
        at = following[0].id
    assert labels == ["Rollout opened", "Promoted", "Replaced by agents@v2"]


def test_the_quarantine_has_the_number_of_lines_and_the_reasons(operated_lake: Lake) -> None:
    node = lineage(operated_lake, "agents@v2").node("quarantine.agent_interactions")
    assert node.detail == "16 lines, 2 reasons"
    assert node.members == ["latency_out_of_range: 11", "malformed_json: 5"]


def test_a_picture_folds_many_raw_objects_into_one_and_the_full_text_lists_them(operated_lake: Lake) -> None:
    graph = lineage(operated_lake, "agents@v1")
    folded_node = next(node for node in folded(graph).nodes if node.kind == "raw")
    assert folded_node.label == "8 raw objects"
    assert set(folded_node.members) == raw_objects(graph)
    assert "8 raw objects" in as_text(graph)
    assert all(name in as_text(graph, everything=True) for name in raw_objects(graph))
    assert folded(graph, above=8) == graph


def test_the_picture_is_well_formed_and_shows_every_node_within_its_bounds(operated_lake: Lake) -> None:
    graph = lineage(operated_lake, "agents@v1")
    root = ElementTree.fromstring(as_svg(graph))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [box.attrib for box in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(boxes) == len(folded(graph).nodes)
    for box in boxes:
        assert 0 <= float(box["x"]) <= float(box["x"]) + float(box["width"]) <= width
        assert 0 <= float(box["y"]) <= float(box["y"]) + float(box["height"]) <= height
    assert len({(box["x"], box["y"]) for box in boxes}) == len(boxes)
    assert as_svg(lineage(operated_lake, "agents@v1")) == as_svg(graph)


def test_text_in_the_picture_is_escaped() -> None:
    graph = Graph(name="v", nodes=[Node(id="v", kind="version", label="<script>", detail='a & "b"')], edges=[])
    assert "<script>" not in as_svg(graph)
    assert ElementTree.fromstring(as_svg(graph)) is not None


def test_an_unknown_version_is_reported_with_the_nearest(operated_lake: Lake) -> None:
    with pytest.raises(UnknownName, match=r"named 'agents@v3'; did you mean 'agents@v[12]'"):
        lineage(operated_lake, "agents@v3")
    with pytest.raises(UnknownName, match="did you mean 'agents'"):
        lineage(operated_lake, "agent@v1")


def test_raw_objects_are_found_after_every_old_snapshot_expired(settings: Settings, tmp_path: Path) -> None:
    lake = operated.empty_lake(settings)
    operated.build_and_record_training(lake, operated.ingest(lake, operated.write_logs(tmp_path / "logs", 0, 3)), 1)
    whole = lineage(lake, "agents@v1")
    operated.ingest(lake, operated.write_logs(tmp_path / "later", 3, 1))
    table = lake.tables.load(AGENT_INTERACTIONS.table)
    current = table.metadata.current_snapshot_id
    old = [snapshot.snapshot_id for snapshot in table.snapshots() if snapshot.snapshot_id != current]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    graph = lineage(lake, "agents@v1")
    assert raw_objects(graph) == raw_objects(whole)
    interactions = next(node for node in graph.nodes if node.label == "processed.agent_interactions")
    assert interactions.detail == "this snapshot has expired"
