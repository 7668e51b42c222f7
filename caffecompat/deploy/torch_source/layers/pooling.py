"""Torch source of Pooling and SPP."""

from __future__ import annotations

from typing import Any

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, square
from caffecompat.schema import pb

_METHODS = {
    pb.PoolingParameter.MAX: "max",
    pb.PoolingParameter.AVE: "average",
    pb.PoolingParameter.STOCHASTIC: "stochastic",
}


@emits("Pooling")
def pooling(c: LayerView) -> Emitted:
    """torch's pooling where its windows are Caffe's for every size of the plane, else Caffe's own."""
    module, method, masked = c.module, _METHODS[c.module.method], len(c.tops) == 2
    if module.whole_plane and method != "stochastic" and not masked:
        return Emitted(call=f"{{0}}.{'mean' if method == 'average' else 'amax'}((2, 3), keepdim=True)")
    if module.whole_plane:
        size = "{0}.shape[2:]"
        if masked:
            return Emitted(call=f"F.max_pool2d({{0}}, {size}, return_indices=True)")
        return Emitted(call=f'pool_windows({{0}}, "{method}", {size}, {size})', helpers=("pool_windows",))
    window = module.window
    if method != "stochastic" and _torch_agrees(window):
        name = "nn.AvgPool2d" if method == "average" else "nn.MaxPool2d"
        text = make(
            name, square(window.kernel), stride=(square(window.stride), square(window.kernel)),
            padding=(square(window.pad), 0), ceil_mode=(window.ceil and window.stride != (1, 1), False),
            return_indices=(masked, False),
        )  # fmt: skip
        return Emitted(text)
    if masked:
        text = make("{0}", window.kernel, window.stride, pad=(window.pad, (0, 0)), ceil=(window.ceil, True))
        return Emitted(call=f"max_pool_with_places({{0}}, {text[4:]}", helpers=("max_pool_with_places",))
    words = make("", method, window.kernel, window.stride, pad=(window.pad, (0, 0)), ceil=(window.ceil, True))
    return Emitted(call=f"pool_windows({{0}}, {words[1:]}", helpers=("pool_windows",))


def _torch_agrees(window: Any) -> bool:
    """Whether torch has the same windows on every plane: it wants them to start inside, and pad <= k / 2."""
    inside = any(window.pad) or all(s <= k for s, k in zip(window.stride, window.kernel, strict=True))
    return (inside or not window.ceil) and all(2 * p <= k for p, k in zip(window.pad, window.kernel, strict=True))


@emits("SPP")
def spp(c: LayerView) -> Emitted:
    text = f'pyramid_pool({{0}}, "{_METHODS[c.module.method]}", {c.module.levels})'
    return Emitted(call=text, helpers=("pyramid_pool",))
