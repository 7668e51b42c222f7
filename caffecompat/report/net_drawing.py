"""Pictures of nets: SVG and PNG on our own, anything Graphviz knows where its ``dot`` is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.picture import encode_picture
from caffecompat.report.layered_layout import Point, lay_out
from caffecompat.report.net_graph import RANKDIRS, NetGraph, Node, make_graph
from caffecompat.schema import NetSource, as_document, as_phase, pb

__all__ = ["draw_net", "draw_net_file", "render", "to_svg"]

_CHARACTER, _LINE, _PAD, _MARGIN = 7.0, 16.0, 8.0, 12.0  # of text of 12 px
_MANY_LAYERS = 100  # of a net whose repeated blocks are folded
_MOST_PIXELS = 60e6  # of a PNG; deeper nets are drawn smaller


@dataclass(frozen=True)
class _Box:
    node: Node
    center: Point
    width: float
    height: float

    def outline(self) -> list[Point]:
        """Corners; an octagon's are cut."""
        (x, y), w, h = self.center, self.width / 2, self.height / 2
        cut = 6.0 if self.node.shape == "octagon" else 0.0
        corners = [
            (-w + cut, -h),
            (w - cut, -h),
            (w, -h + cut),
            (w, h - cut),
            (w - cut, h),
            (-w + cut, h),
            (-w, h - cut),
        ]
        return [(x + dx, y + dy) for dx, dy in [*corners, (-w, -h + cut)]]


@dataclass(frozen=True)
class _Arrow:
    points: list[Point]
    label: str
    both: bool  # an in-place layer reads and writes the blob


@dataclass(frozen=True)
class _Scene:
    width: float
    height: float
    boxes: list[_Box]
    arrows: list[_Arrow]


def draw_net(
    model: NetSource,
    out: str | os.PathLike[str],
    *,
    rankdir: str = "LR",
    phase: int | str | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    display_lrm: bool = False,
    fold: bool | None = None,
    fork: ForkName | None = None,
) -> None:
    """Draw a net as a picture, as Caffe's draw_net.py does.

    Args:
        model: path of a prototxt, or a net that was read.
        out: .svg, .png or .dot to write; other kinds (.pdf, ...) need Graphviz.
        rankdir: the way the net runs: "LR" (left to right), "TB", "BT" or "RL".
        phase: "TRAIN" or "TEST", or pycaffe's numbers of them: the layers of that phase; None is both.
        level, stages: of the NetState; where either is given, layers that it excludes are left out.
        display_lrm: also show the learning-rate multipliers of convolutions.
        fold: of blocks of the same structure in a row, draw the first one, and a box in place of the others; None does
            so in nets of more than 100 layers.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        CaffeCompatError: the net cannot be read, the direction or the phase is unknown, or the kind needs Graphviz.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.draw_net("train_val.prototxt", "net.svg", rankdir="TB", phase="TEST")
    """
    if rankdir not in RANKDIRS:
        raise CaffeCompatError(f"rankdir {rankdir!r}: expected {', '.join(RANKDIRS)}")
    number = None if phase is None else as_phase(phase)
    document = as_document(model, fork=fork)
    if stages or level is not None:
        from caffecompat.net.filter import filter_net, make_state  # whose room loads torch, which pictures do without

        kept: set[int] = set()
        for one in (0, 1) if number is None else (number,):
            state = make_state(document.message, one, level, stages)
            kept.update(filter_net(document.message, state, lambda line: None)[1])
        document = document.keeping(sorted(kept))
    large = len(document.message.layer) > _MANY_LAYERS
    draw_net_file(
        document.message, out, rankdir, phase=number, display_lrm=display_lrm, fold=large if fold is None else fold
    )


def draw_net_file(
    net: pb.NetParameter,
    path: str | os.PathLike[str],
    rankdir: str = "LR",
    *,
    phase: int | str | None = None,
    display_lrm: bool = False,
    label_edges: bool = True,
    fold: bool = False,
) -> None:
    """Draw a NetParameter into a file; its extension says how: svg, png, dot (gv), with Graphviz also pdf and others.

    Raises:
        CaffeCompatError: the format needs Graphviz, or the file cannot be written.
        ValueError: rankdir is not LR, TB, BT or RL.
    """
    kind = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    if not kind:
        raise CaffeCompatError(f"{os.fspath(path)}: the extension must say what to draw: .svg, .png or .dot")
    graph = make_graph(net, rankdir, phase=phase, display_lrm=display_lrm, label_edges=label_edges, fold=fold)
    with atomic_write(path) as file:
        file.write(render(graph, kind))


def render(graph: NetGraph, kind: str) -> bytes:
    """The bytes of a picture of that kind ("svg", "png", "dot", "pdf", ...).

    Graphviz draws where it is installed. Without it svg and png are drawn by :mod:`layered_layout`.

    Raises:
        CaffeCompatError: only Graphviz knows that kind, and it is not installed or fails.
    """
    kind = kind.lower()
    if kind in ("dot", "gv"):
        return graph.to_dot().encode()
    dot = shutil.which("dot")
    if dot is not None:
        done = subprocess.run([dot, f"-T{kind}"], input=graph.to_dot().encode(), capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if kind not in ("svg", "png"):
            raise CaffeCompatError(f"Graphviz cannot draw {kind}: {done.stderr.decode(errors='replace').strip()}")
    if kind == "svg":
        return to_svg(graph).encode()
    if kind == "png":
        return _to_png(graph)
    raise CaffeCompatError(
        f"drawing {kind} needs Graphviz's program 'dot', which is not installed; svg, png and dot do not"
    )


def _scene(graph: NetGraph) -> _Scene:
    sideways = graph.rankdir in ("LR", "RL")
    sizes = {key: _node_size(node) for key, node in graph.nodes.items()}
    kept: dict[tuple[str, str], str] = {}
    both = set()
    for edge in graph.edges:
        if (edge.head, edge.tail) in kept:
            both.add((edge.head, edge.tail))
        elif edge.tail != edge.head:
            kept.setdefault((edge.tail, edge.head), edge.label)
    flow = {key: size if sideways else size[::-1] for key, size in sizes.items()}
    labels = [_CHARACTER * len(label) if sideways else 0.0 for label in kept.values()]
    layout = lay_out(flow, list(kept), labels)
    along_most = layout.size[0]

    def place(point: Point) -> Point:
        along, across = point
        along = along_most - along if graph.rankdir in ("RL", "BT") else along
        return (along + _MARGIN, across + _MARGIN) if sideways else (across + _MARGIN, along + _MARGIN)

    boxes = [_Box(node, place(layout.centers[key]), *sizes[key]) for key, node in graph.nodes.items()]
    arrows = []
    for (pair, label), bends in zip(kept.items(), layout.bends, strict=True):
        tail, head = (layout.centers[key] for key in pair)
        ahead = 1 if head[0] >= tail[0] else -1
        start = (tail[0] + ahead * flow[pair[0]][0] / 2, tail[1])
        end = (head[0] - ahead * flow[pair[1]][0] / 2, head[1])
        arrows.append(_Arrow([place(point) for point in (start, *bends, end)], label, pair in both))
    width, height = layout.size if sideways else layout.size[::-1]
    return _Scene(width + 2 * _MARGIN, height + 2 * _MARGIN, boxes, arrows)


def _node_size(node: Node) -> tuple[float, float]:
    """(width, height) that a node's text needs."""
    return max(len(line) for line in node.lines) * _CHARACTER + 2 * _PAD, len(node.lines) * _LINE + 2 * _PAD


def _line_places(box: _Box) -> list[tuple[str, Point]]:
    """Each line of a node's text and the center of its place."""
    x, y = box.center
    top = y - (len(box.node.lines) - 1) * _LINE / 2
    return [(line, (x, top + index * _LINE)) for index, line in enumerate(box.node.lines)]


def to_svg(graph: NetGraph) -> str:
    """The picture as SVG text."""
    scene = _scene(graph)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width:.0f}" height="{scene.height:.0f}" '
        f'viewBox="0 0 {scene.width:.0f} {scene.height:.0f}" font-family="Helvetica, Arial, sans-serif" '
        'font-size="12" text-anchor="middle">',
        f"<title>{escape(graph.name)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for arrow in scene.arrows:
        ends = 'marker-start="url(#tip)" marker-end="url(#tip)"' if arrow.both else 'marker-end="url(#tip)"'
        lines.append(f'<polyline points="{_svg_points(arrow.points)}" fill="none" stroke="#404040" {ends}/>')
        if arrow.label:
            x, y = _label_place(arrow)
            # White around the letters keeps an arrow beneath from striking them out.
            around = 'paint-order="stroke" stroke="white" stroke-width="4"'
            lines.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" fill="#404040" {around}>{escape(arrow.label)}</text>')
    for box in scene.boxes:
        lines.append(f'<polygon points="{_svg_points(box.outline())}" fill="{box.node.fill}" stroke="black"/>')
        lines += [f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(line)}</text>' for line, (x, y) in _line_places(box)]
    return "\n".join([*lines, "</svg>", ""])


def _svg_points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _label_place(arrow: _Arrow) -> Point:
    """Where an arrow's text is centered: next to the middle of its first piece."""
    (x0, y0), (x1, y1) = arrow.points[0], arrow.points[1]
    aside = _CHARACTER / 2 * len(arrow.label) + 4 if abs(y1 - y0) > abs(x1 - x0) else 0.0
    return (x0 + x1) / 2 + aside, (y0 + y1) / 2 - (0.0 if aside else 8.0)


def _to_png(graph: NetGraph) -> bytes:
    import cv2

    scene = _scene(graph)
    scale = min(1.0, (_MOST_PIXELS / (scene.width * scene.height)) ** 0.5)
    picture = np.full((max(1, round(scene.height * scale)), max(1, round(scene.width * scale)), 3), 255, np.uint8)

    def pixels(points: Sequence[Point]) -> np.ndarray:
        rounded: np.ndarray = np.round(np.array(points) * scale).astype(np.int32)
        return rounded

    def write(text: str, center: Point, color: tuple[int, int, int]) -> None:
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, 1)
        x, y = pixels([center])[0]
        place = (int(x - width // 2), int(y + height // 2))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, color, 1, cv2.LINE_AA)

    gray = (64, 64, 64)
    for arrow in scene.arrows:
        points = pixels(arrow.points)
        cv2.polylines(picture, [points], False, gray, 1, cv2.LINE_AA)
        for last, before in ((-1, -2), (0, 1)) if arrow.both else ((-1, -2),):
            cv2.fillPoly(picture, [pixels(_tip(arrow.points[last], arrow.points[before]))], gray, cv2.LINE_AA)
        if arrow.label:
            write(arrow.label, _label_place(arrow), gray)
    for box in scene.boxes:
        red, green, blue = bytes.fromhex(box.node.fill[1:])
        cv2.fillPoly(picture, [pixels(box.outline())], (blue, green, red), cv2.LINE_AA)
        cv2.polylines(picture, [pixels(box.outline())], True, (0, 0, 0), 1, cv2.LINE_AA)
        for line, center in _line_places(box):
            write(line, center, (0, 0, 0))
    encoded = encode_picture(picture, "png")
    if encoded is None:
        raise CaffeCompatError(
            f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels cannot be written as PNG; draw an svg"
        )
    return encoded


def _tip(end: Point, before: Point) -> list[Point]:
    """The triangle at the end of an arrow."""
    direction = np.subtract(end, before)
    direction = direction / max(float(np.hypot(*direction)), 1e-6)
    side = np.array([-direction[1], direction[0]]) * 3
    base = np.array(end) - direction * 7
    return [end, tuple(base + side), tuple(base - side)]
