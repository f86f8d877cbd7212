"""The lineage graph as a tree of text for the terminal, and as a layered picture for the report.

The picture is laid out here, because a layout program may not be installed. A node is in the layer of its longest path
from a source. An edge that crosses layers has a lane in each, so that it passes between the boxes and not under them.
The order in a layer follows the mean position of the neighbours (Sugiyama et al. 1981).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from markupsafe import Markup

from reports.common import palette
from reports.common.html import render
from reports.lineage.graph import Graph, Node, folded

WIDTH, MARGIN = 960.0, 14.0
BOX_HEIGHT, LAYER_HEIGHT, BOX_WIDTH, GAP, LANE = 48.0, 88.0, 262.0, 16.0, 20.0


def as_text(graph: Graph, *, everything: bool = False) -> str:
    """Two trees, what the version was made of and what became of it; raw objects are folded unless ``everything``."""
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
    for node in nodes:
        last, again = node is nodes[-1], node.id in seen
        detail = "(see above)" if again and step(node.id) else node.detail
        name = node.id if node.kind in ("table", "raw") and not node.members else node.label
        lines.append(f"{indent}{'└─' if last else '├─'} {name}  {detail}".rstrip())
        if not again:
            seen.add(node.id)
            _branch(lines, step(node.id), step, f"{indent}{'   ' if last else '│  '}", seen)


@dataclass(slots=True, eq=False)
class _Position:
    """The position of a node, or of an edge in a layer that it crosses (``node`` is None)."""

    layer: int
    node: Node | None
    x: float = 0.0
    width: float = LANE


def as_svg(graph: Graph) -> Markup:
    """The picture, with raw objects folded where there are more than six; 960 units wide, as high as needed."""
    shown = folded(graph)
    positions, routes = _layout(shown)
    last = max(position.layer for position in positions)
    boxes = [_box(position, position.node, position.node.id == shown.name) for position in positions if position.node]
    return render(
        "lineage.svg",
        width=f"{WIDTH:.0f}",
        height=f"{2 * MARGIN + last * LAYER_HEIGHT + BOX_HEIGHT:.0f}",
        label=f"Lineage of {shown.node(shown.name).label}",
        palette=palette,
        paths=map(_path, routes),
        boxes=boxes,
    )


def _layout(graph: Graph) -> tuple[list[_Position], list[list[_Position]]]:
    """All positions, and each edge as the positions that it passes."""
    layers = _layers(graph)
    boxes = {node.id: _Position(layer=layers[node.id], node=node) for node in graph.nodes}
    routes = []
    for source, target in graph.edges:
        lanes = [_Position(layer=layer, node=None) for layer in range(layers[source] + 1, layers[target])]
        routes.append([boxes[source], *lanes, boxes[target]])
    positions = [*boxes.values(), *(lane for route in routes for lane in route[1:-1])]
    rows: dict[int, list[_Position]] = defaultdict(list)
    for position in positions:
        rows[position.layer].append(position)
    for row in rows.values():
        found = [position for position in row if position.node]
        free = WIDTH - 2 * MARGIN - GAP * (len(row) - 1) - LANE * (len(row) - len(found))
        for position in found:
            position.width = min(BOX_WIDTH, free / len(found))
    _order(rows, routes)
    left = min(position.x - position.width / 2 for position in positions)
    right = max(position.x + position.width / 2 for position in positions)
    for position in positions:
        position.x += (WIDTH - left - right) / 2
    return positions, routes


def _layers(graph: Graph) -> dict[str, int]:
    """Longest path from a source; a source then moves down to just above the first node made of it."""
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


def _order(rows: dict[int, list[_Position]], routes: list[list[_Position]]) -> None:
    near: dict[_Position, list[_Position]] = defaultdict(list)
    for above, below in chain.from_iterable(map(pairwise, routes)):
        near[above].append(below)
        near[below].append(above)
    for row in rows.values():
        _spread(dict.fromkeys(row, WIDTH / 2))
    for sweep in range(12):
        for layer in sorted(rows, reverse=bool(sweep % 2)):
            wanted = {position: _mean([n.x for n in near[position]], position.x) for position in rows[layer]}
            rows[layer].sort(key=wanted.__getitem__)
            _spread({position: wanted[position] for position in rows[layer]})


def _spread(wanted: dict[_Position, float]) -> None:
    """Put the positions of a row side by side in their order, each as near as possible to its ``wanted`` x."""
    edge, row = 0.0, list(wanted)
    for position in row:
        position.x = max(wanted[position], edge + position.width / 2)
        edge = position.x + position.width / 2 + GAP
    first, last = row[0], row[-1]
    shift = _mean([x - position.x for position, x in wanted.items()], 0.0)
    lowest, highest = MARGIN + first.width / 2 - first.x, WIDTH - MARGIN - last.width / 2 - last.x
    shift = max(lowest, min(shift, highest))
    for position in row:
        position.x += shift


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _path(stops: Sequence[_Position]) -> str:
    """An edge as the data of an SVG path: from the bottom of the first box through the lanes to the top of the last."""
    path = f"M{stops[0].x:.1f} {_top(stops[0]) + BOX_HEIGHT:.1f}"
    for before, after in pairwise(stops):
        bottom, top = _top(before) + BOX_HEIGHT, _top(after)
        middle = (bottom + top) / 2
        path += f"C{before.x:.1f} {middle:.1f} {after.x:.1f} {middle:.1f} {after.x:.1f} {top:.1f}"
        if after.node is None:
            path += f"V{top + BOX_HEIGHT:.1f}"
    return path


def _box(position: _Position, node: Node, main: bool) -> dict[str, object]:
    """A node as the template takes it, its texts cut to the box: a character is about 0.6 of the font's size wide."""
    top, lines = _top(position), []
    for text, size, below in ((node.label, 13, 20), (node.detail, 11, 36)):
        room = int((position.width - 16) / (size * 0.6))
        short = text if len(text) <= room else f"{text[: room - 1].rstrip()}…"
        lines.append({"y": f"{top + below:.1f}", "text": short, "size": size})
    return {
        "kind": node.kind,
        "main": main,
        "tooltip": "\n".join([f"{node.label}: {node.detail}", *node.members[:40]]),
        "left": f"{position.x - position.width / 2:.1f}",
        "middle": f"{position.x:.1f}",
        "top": f"{top:.1f}",
        "width": f"{position.width:.1f}",
        "height": f"{BOX_HEIGHT:.0f}",
        "lines": lines,
    }


def _top(position: _Position) -> float:
    return MARGIN + position.layer * LAYER_HEIGHT
