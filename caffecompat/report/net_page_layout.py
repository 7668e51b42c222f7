"""Where a net's layers lie on its page: units of layers, in blocks that come again, in runs of such blocks.

Each run and each block has a layout of its own, made as if all that it holds were folded; the page's script moves the
rows apart where one is unfolded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffecompat.layers import class_of
from caffecompat.report.layered_layout import lay_out
from caffecompat.report.net_blocks import Repeat, Unit, find_repeats, make_units
from caffecompat.schema import pb
from caffecompat.schema.data_layers import data_layer

__all__ = ["lay_out_page", "layer_kind", "layer_text"]

_LETTER, _PAD, _HEAD, _BAR = 6.6, 20.0, 38.0, 19.0
_LONGEST = 34  # letters of a line in a box
_PORT = (6.0, 40.0)  # along, across: where values come into a block, and leave it
_IN, _OUT = "in", "out"
_FAMILIES = {
    "convolution": "conv",
    "inner_product": "fc",
    "pooling": "pool",
    "pooling_3d": "pool",
    "normalization": "norm",
    "bn": "norm",
    "scale": "norm",
    "activation": "act",
    "elementwise": "join",
    "fixed": "fix",
}

Shapes = Sequence[Sequence[tuple[int, ...]]]


def lay_out_page(layers: Sequence[pb.LayerParameter], shapes: Shapes) -> dict[str, Any]:
    """Boxes and their places, for the page's script.

    Args:
        shapes: of each layer's tops; empty where they are not known.

    Returns:
        ``boxes`` by name, each a unit (with the layers in it) or a group (with the name of its graph), width and
        height; ``graphs`` by name, "net" being the whole: places of boxes, rows, and edges with bends.
    """
    units = make_units(layers, lambda layer: class_of(layer.type).keeps_pixels)
    page = _Page(layers, units, shapes)
    items: list[str] = []
    at = 0
    for number, repeat in enumerate(find_repeats(layers, units)):
        items += [page.add_unit(index) for index in range(at, repeat.start)]
        items.append(page.add_run(number, repeat))
        at = repeat.end
    items += [page.add_unit(index) for index in range(at, len(units))]
    page.add_graph("net", items)
    return {"boxes": page.boxes, "graphs": page.graphs}


class _Page:
    """Boxes and graphs as they are made, from the innermost outward."""

    def __init__(self, layers: Sequence[pb.LayerParameter], units: Sequence[Unit], shapes: Shapes) -> None:
        self._layers, self._units, self._shapes = layers, units, shapes
        self._inside: dict[str, set[int]] = {}  # the units of each box
        self._made = {
            (number, blob): shape
            for number, unit in enumerate(units)
            for at in unit.layers
            for blob, shape in zip(layers[at].top, shapes[at], strict=False)
        }
        self._read = {(read.unit, read.blob) for unit in units for read in unit.reads}
        self.boxes: dict[str, dict[str, Any]] = {}
        self.graphs: dict[str, dict[str, Any]] = {}

    def add_unit(self, index: int) -> str:
        """The box of a unit: its first layer with two lines, the others with one each."""
        key = f"u{index}"
        held = [self._layers[at] for at in self._units[index].layers]
        texts = [held[0].name, layer_text(held[0]), *(layer_text(layer) for layer in held[1:])]
        width = max(min(len(text), _LONGEST) for text in texts) * _LETTER + _PAD
        height = _HEAD + _BAR * (len(held) - 1)
        rows = [
            {"layer": at, "kind": layer_kind(layer), "text": _cut(text)}
            for at, layer, text in zip(self._units[index].layers, held, texts[1:], strict=True)
        ]
        self._add(key, {index}, width, height, rows=rows, title=_cut(held[0].name))
        return key

    def add_run(self, number: int, repeat: Repeat) -> str:
        """The box of blocks in a row, each of which is a box too; of blocks of one unit, the box of the units."""
        blocks = []
        for each in range(repeat.count):
            start = repeat.start + each * repeat.length
            units = [self.add_unit(index) for index in range(start, start + repeat.length)]
            if repeat.length > 1:
                units = [self._add_group(f"b{number}_{each}", units, f"block {each + 1} of {repeat.count}")]
            blocks += units
        return self._add_group(f"r{number}", blocks, f"{repeat.count} × the same structure")

    def _add_group(self, key: str, items: Sequence[str], title: str) -> str:
        self.add_graph(key, items)
        inside = set().union(*(self._inside[item] for item in items))
        held = sorted(at for index in inside for at in self._units[index].layers)
        last = self._layers[self._units[max(inside)].layers[0]].name
        span = f"{self._layers[held[0]].name} … {last}"
        count = f"{len(held)} layers"
        shape = next((self._made[each] for each in sorted(self._made) if each[0] == max(inside)), ())
        lines = [title, _cut(span), count + (f", {shape_text(shape)}" if shape else "")]
        width = max(map(len, lines)) * _LETTER + _PAD + 16
        self._add(key, inside, width, 62.0, graph=key, lines=lines)
        return key

    def _add(self, key: str, inside: set[int], width: float, height: float, **more: Any) -> None:
        self._inside[key] = inside
        self.boxes[key] = {"w": round(width), "h": round(height), **more}

    def add_graph(self, name: str, items: Sequence[str]) -> None:
        """Lay out boxes and what goes between them; inside of a group, from where values come in to where they leave.

        Boxes are given in an order in which each reads of earlier ones alone.
        """
        homes = {index: item for item in items for index in self._inside[item]}
        edges: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}

        def join(tail: str, head: str, unit: int, blob: str) -> None:
            edges.setdefault((tail, head), {})[blob] = tuple(self._made.get((unit, blob), ()))

        for index, unit in enumerate(self._units):
            head = homes.get(index)
            for read in unit.reads:
                tail = homes.get(read.unit)
                if head is None and tail is not None:
                    join(tail, _OUT, read.unit, read.blob)
                elif head is not None and tail != head and (tail is not None or name != "net"):
                    join(tail or _IN, head, read.unit, read.blob)
        if name != "net":
            for unit_number, blob in self._made:
                if (unit_number, blob) not in self._read and unit_number in homes:
                    join(homes[unit_number], _OUT, unit_number, blob)
        used = {key for pair in edges for key in pair}
        keys = [key for key in (_IN, *items, _OUT) if key in used or key in self.boxes]
        sizes = {key: (self.boxes[key]["h"], self.boxes[key]["w"]) if key in self.boxes else _PORT for key in keys}
        self.graphs[name] = _placed(sizes, edges)


def _placed(
    sizes: dict[str, tuple[float, float]], edges: dict[tuple[str, str], dict[str, tuple[int, ...]]]
) -> dict[str, Any]:
    """A graph's rows from the top down, boxes in them, and edges that bend at rows' upper and lower ends alone."""
    layout = lay_out(sizes, list(edges))
    centers = sorted({along for along, _ in layout.centers.values()})
    depth = dict.fromkeys(centers, 0.0)
    for key, (along, _) in layout.centers.items():
        depth[along] = max(depth[along], sizes[key][0])
    rows = [{"y": round(along, 1), "h": depth[along]} for along in centers]
    row_of = {along: number for number, along in enumerate(centers)}

    # In this order: of a row without depth both ends are the same.
    ends = {round(at + side * depth[at] / 2, 3): [row_of[at], side] for side in (-1, 1) for at in centers}

    def bend(point: tuple[float, float]) -> list[float]:
        return [round(point[1], 1), *ends[round(point[0], 3)]]

    return {
        "rows": rows,
        "nodes": [[key, round(across, 1), row_of[along]] for key, (along, across) in layout.centers.items()],
        "edges": [
            {"a": a, "b": b, "blobs": [[blob, shape_text(shape)] for blob, shape in values.items()],
             "bends": [bend(point) for point in bends]}
            for ((a, b), values), bends in zip(edges.items(), layout.bends, strict=True)
        ],
    }  # fmt: skip


def shape_text(shape: Sequence[int]) -> str:
    """1×64×32×32; "" for a scalar and where it is not known."""
    return "×".join(map(str, shape))


def layer_kind(layer: pb.LayerParameter) -> str:
    """The family that a layer's color shows."""
    kind = class_of(layer.type)
    if data_layer(layer.type) is not None:
        return "data"
    if kind.is_loss or kind.measures:
        return "loss"
    family = kind.__module__.rpartition(".")[2]
    return _FAMILIES.get(family, "join" if kind.bottoms[1] != 1 and len(layer.bottom) > 1 else "other")


def layer_text(layer: pb.LayerParameter) -> str:
    """A layer's type, and the settings that shapes come from: "Convolution 3×3 stride 2, 64"."""
    parts = [layer.type]
    if layer.HasField("convolution_param"):
        given = layer.convolution_param
        parts += _window(
            given.kernel_size, given.kernel_h, given.kernel_w, given.stride, given.stride_h, given.stride_w
        )
        parts += [f"dilation {given.dilation[0]}"] if given.dilation and max(given.dilation) > 1 else []
        parts += [f"group {given.group}"] if given.group > 1 else []
        parts[-1] += f", {given.num_output}"
    elif layer.HasField("pooling_param"):
        pool = layer.pooling_param
        parts = [f"{pb.PoolingParameter.PoolMethod.Name(pool.pool)} {layer.type}"]
        parts += ["global"] if pool.global_pooling else _window(
            [pool.kernel_size], pool.kernel_h, pool.kernel_w, [pool.stride], pool.stride_h, pool.stride_w
        )  # fmt: skip
    elif layer.HasField("inner_product_param"):
        parts.append(str(layer.inner_product_param.num_output))
    elif layer.HasField("eltwise_param"):
        parts.append(pb.EltwiseParameter.EltwiseOp.Name(layer.eltwise_param.operation))
    return " ".join(parts)


def _window(
    kernel: Sequence[int], kernel_h: int, kernel_w: int, stride: Sequence[int], stride_h: int, stride_w: int
) -> list[str]:
    high, wide = (kernel_h, kernel_w) if kernel_h or kernel_w else (list(kernel) * 2 or [0, 0])[:2]
    steps = [stride_h, stride_w] if stride_h or stride_w else list(stride)
    return [f"{high}×{wide}"] + ([f"stride {max(steps)}"] if steps and max(steps) > 1 else [])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
