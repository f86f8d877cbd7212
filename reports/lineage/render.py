"""The lineage graph for people: a tree of text for the terminal, a layered picture for the report.

The picture is SVG written here, because no layout program can be counted on. Nodes stand in the layer of their longest
way from a source; an edge that crosses layers bends through a place of its own in each, so that it passes between the
boxes and not under them; the order in a layer follows the mean place of its neighbours (Sugiyama et al. 1981).
"""

import html
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reports.common.html import FONT, GREY, INK, MUTED
from reports.lineage.graph import Graph, Node, folded

FILL = {
    "raw": "#eef1f5",
    "quarantine": "#fbe9dd",
    "table": "#e3eef7",
    "base": "#eef1f5",
    "decision": "#efe8f7",
    "adapter": "#fdf3d9",
    "evaluation": "#fdf3d9",
    "version": "#d9f0e8",
    "rollout": "#d9f0e8",
    "verdict": "#d9f0e8",
}
EDGE = "#b3bcc9"
WIDTH, MARGIN = 960.0, 14.0
BOX_HEIGHT, LAYER_HEIGHT, BOX_WIDTH, GAP, LANE = 48.0, 88.0, 262.0, 16.0, 20.0
SWEEPS = 12


def as_text(graph: Graph, *, everything: bool = False) -> str:
    """Two trees: what the version was made of and what became of it; raw objects are folded unless ``everything``."""
    shown = graph if everything else folded(graph)
    root = shown.node(shown.name)
    lines = [f"{root.label}  {root.detail}"]
    for title, step in (("made of", shown.sources), ("became", shown.targets)):
        if first := step(root.id):
            lines.append(f"\n{title}")
            _branch(lines, first, step, "", {root.id})
    for left_out in (node for node in shown.nodes if node.kind == "quarantine"):
        lines += [f"\nleft out: {left_out.label}  {left_out.detail}", *(f"   {member}" for member in left_out.members)]
    return "\n".join(lines)


def _branch(
    lines: list[str], nodes: list[Node], step: Callable[[str], list[Node]], indent: str, seen: set[str]
) -> None:
    for place, node in enumerate(nodes):
        last = place == len(nodes) - 1
        again = node.id in seen
        detail = "(see above)" if again and step(node.id) else node.detail
        name = node.id if node.kind in ("table", "raw") and not node.members else node.label
        lines.append(f"{indent}{'└─' if last else '├─'} {name}  {detail}".rstrip())
        if not again:
            seen.add(node.id)
            _branch(lines, step(node.id), step, f"{indent}{'   ' if last else '│  '}", seen)


@dataclass(slots=True)
class _Place:
    """A node's place, or where an edge passes a layer (``node`` is None)."""

    layer: int
    node: Node | None
    x: float = 0.0
    width: float = LANE


def as_svg(graph: Graph) -> str:
    """The picture, with raw objects folded past six; 960 units wide, as high as it needs."""
    shown = folded(graph)
    places, ways = _layout(shown)
    height = (
        2 * MARGIN + (max(place.layer for place in places.values()) + 1) * LAYER_HEIGHT - (LAYER_HEIGHT - BOX_HEIGHT)
    )
    edges = "".join(_edge([places[stop] for stop in way]) for way in ways)
    boxes = "".join(_box(place, place.node, place.node.id == shown.name) for place in places.values() if place.node)
    label = html.escape(f"Lineage of {shown.node(shown.name).label}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="{label}" style="font-family:{FONT}">{edges}{boxes}</svg>'
    )


def _layout(graph: Graph) -> tuple[dict[str, _Place], list[list[str]]]:
    """Places by id, and each edge as the ids it passes."""
    layers = _layers(graph)
    places = {node.id: _Place(layer=layers[node.id], node=node) for node in graph.nodes}
    ways = []
    for number, (source, target) in enumerate(graph.edges):
        stops = [f"lane {number} {layer}" for layer in range(layers[source] + 1, layers[target])]
        places |= {stop: _Place(layer=layers[source] + 1 + i, node=None) for i, stop in enumerate(stops)}
        ways.append([source, *stops, target])
    rows: dict[int, list[str]] = defaultdict(list)
    for identifier, place in places.items():
        rows[place.layer].append(identifier)
    _set_widths(rows, places)
    _order(rows, places, ways)
    return places, ways


def _layers(graph: Graph) -> dict[str, int]:
    """Longest way from a source; a source then moves down to just above the first thing made of it."""
    layers = {node.id: 0 for node in graph.nodes}
    for _ in graph.nodes:
        for source, target in graph.edges:
            layers[target] = max(layers[target], layers[source] + 1)
    has_source = {target for _, target in graph.edges}
    for node in graph.nodes:
        below = [layers[target] for source, target in graph.edges if source == node.id]
        if node.id not in has_source and below:
            layers[node.id] = min(below) - 1
    return layers


def _set_widths(rows: dict[int, list[str]], places: dict[str, _Place]) -> None:
    for row in rows.values():
        boxes = [places[identifier] for identifier in row if places[identifier].node]
        free = WIDTH - 2 * MARGIN - GAP * (len(row) - 1) - LANE * (len(row) - len(boxes))
        for place in boxes:
            place.width = min(BOX_WIDTH, free / len(boxes))


def _order(rows: dict[int, list[str]], places: dict[str, _Place], ways: list[list[str]]) -> None:
    near: dict[str, list[str]] = defaultdict(list)
    for way in ways:
        for one, other in pairwise(way):
            near[one].append(other)
            near[other].append(one)
    for row in rows.values():
        _spread(row, places, dict.fromkeys(row, WIDTH / 2))
    for sweep in range(SWEEPS):
        for layer in sorted(rows, reverse=bool(sweep % 2)):
            wanted = {i: _mean([places[n].x for n in near[i]], places[i].x) for i in rows[layer]}
            rows[layer].sort(key=lambda identifier, wanted=wanted: wanted[identifier])  # type: ignore[misc]
            _spread(rows[layer], places, wanted)
    _centre(places)


def _spread(row: Sequence[str], places: dict[str, _Place], wanted: dict[str, float]) -> None:
    """Put a row's places side by side in their order, each as near to where it is ``wanted`` as possible."""
    edge = 0.0
    for identifier in row:
        place = places[identifier]
        place.x = max(wanted[identifier], edge + place.width / 2)
        edge = place.x + place.width / 2 + GAP
    first, last = places[row[0]], places[row[-1]]
    shift = _mean([wanted[identifier] - places[identifier].x for identifier in row], 0.0)
    lowest, highest = MARGIN + first.width / 2 - first.x, WIDTH - MARGIN - last.width / 2 - last.x
    shift = max(lowest, min(shift, highest))
    for identifier in row:
        places[identifier].x += shift


def _centre(places: dict[str, _Place]) -> None:
    """Move the whole picture to the middle of the page."""
    left = min(place.x - place.width / 2 for place in places.values())
    right = max(place.x + place.width / 2 for place in places.values())
    for place in places.values():
        place.x += (WIDTH - left - right) / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _edge(stops: Sequence[_Place]) -> str:
    """A curve from the foot of the first box through the lanes to the head of the last."""
    path = f"M{stops[0].x:.1f} {_top(stops[0]) + BOX_HEIGHT:.1f}"
    for before, after in pairwise(stops):
        foot, head = _top(before) + BOX_HEIGHT, _top(after)
        middle = (foot + head) / 2
        path += f"C{before.x:.1f} {middle:.1f} {after.x:.1f} {middle:.1f} {after.x:.1f} {head:.1f}"
        if after.node is None:
            path += f"V{head + BOX_HEIGHT:.1f}"
    return f'<path d="{path}" fill="none" stroke="{EDGE}" stroke-width="1.5"/>'


def _box(place: _Place, node: Node, main: bool) -> str:
    left, top = place.x - place.width / 2, _top(place)
    told = f"{node.label}: {node.detail}" + "".join(f"\n{member}" for member in node.members[:40])
    stroke, width = (INK, 1.6) if main else (GREY, 0.6)
    return (
        f"<g><title>{html.escape(told)}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{place.width:.1f}" height="{BOX_HEIGHT:.0f}" rx="8" '
        f'fill="{FILL[node.kind]}" stroke="{stroke}" stroke-width="{width}"/>'
        f"{_line(place, top + 20, node.label, 13, INK, 600)}{_line(place, top + 36, node.detail, 11, MUTED, 400)}</g>"
    )


def _line(place: _Place, y: float, text: str, size: int, color: str, weight: int) -> str:
    room = int((place.width - 16) / (size * 0.6))
    short = text if len(text) <= room else f"{text[: room - 1].rstrip()}…"
    return (
        f'<text x="{place.x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" font-weight="{weight}" '
        f'fill="{color}">{html.escape(short)}</text>'
    )


def _top(place: _Place) -> float:
    return MARGIN + place.layer * LAYER_HEIGHT
