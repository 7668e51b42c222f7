"""Torch source of the layers that move values."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("Split")
def split(c: LayerView) -> Emitted:
    return Emitted(call="{0}")  # for each top


@emits("Silence")
def silence(c: LayerView) -> Emitted:
    return Emitted()


@emits("Flatten")
def flatten(c: LayerView) -> Emitted:
    last = len(c.shape) - 1
    return Emitted(call=f"{{0}}.flatten({c.module.axis}{'' if c.module.end == last else f', {c.module.end}'})")


@emits("Reshape")
def reshape(c: LayerView) -> Emitted:
    """The prototxt's numbers; sizes that it keeps are the bottom's, and the batch is any where nothing else is."""
    p, shape = c.param.reshape_param, c.shape
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    end = len(shape) if p.num_axes == -1 else start + p.num_axes
    dims = [f"{{0}}.shape[{axis}]" for axis in range(start)]
    dims += [f"{{0}}.shape[{start + i}]" if dim == 0 else str(dim) for i, dim in enumerate(p.shape.dim)]
    dims += [f"{{0}}.shape[{axis}]" for axis in range(end, len(shape))]
    if dims and "-1" not in dims and c.tops[0][0] == shape[0]:
        dims[0] = "-1"
    return Emitted(call=f"{{0}}.reshape({', '.join(dims) or '()'})")


@emits("Permute", "Transpose")
def permute(c: LayerView) -> Emitted:
    return Emitted(call=f"{{0}}.permute({', '.join(map(str, c.module.order))})")


@emits("Tile")
def tile(c: LayerView) -> Emitted:
    repeats = [str(c.module.tiles if axis == c.module.axis else 1) for axis in range(len(c.shape))]
    return Emitted(call=f"{{0}}.repeat({', '.join(repeats)})")


@emits("BatchReindex")
def batch_reindex(c: LayerView) -> Emitted:
    return Emitted(call="{0}[{1}.long()]")


@emits("Filter")
def filter_(c: LayerView) -> Emitted:
    selector = f"{{{len(c.bottoms) - 1}}}.flatten() != 0"
    return Emitted(call=", ".join(f"{{{i}}}[{selector}]" for i in range(len(c.tops))))
