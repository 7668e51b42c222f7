"""Torch source of Pooling and SPP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, square
from caffecompat.schema import pb

if TYPE_CHECKING:
    from caffecompat.layers.functional.pooling import Window

_FUNCTIONS = {
    pb.PoolingParameter.MAX: "max_pool",
    pb.PoolingParameter.AVE: "average_pool",
    pb.PoolingParameter.STOCHASTIC: "stochastic_pool",
}


@emits("Pooling")
def pooling(c: LayerView) -> Emitted:
    """torch's pooling where its windows are Caffe's for every size of the plane, else Caffe's own."""
    m, masked = c.module, len(c.tops) == 2
    averages, stochastic = m.method == pb.PoolingParameter.AVE, m.method == pb.PoolingParameter.STOCHASTIC
    if m.whole_plane:
        if stochastic:
            return Emitted(call="stochastic_pool({0}, Window({0}.shape[2:]))")
        if masked:
            return Emitted(call="F.max_pool2d({0}, {0}.shape[2:], return_indices=True)")
        factor = _factor(m, c.shape[2:])
        return Emitted(call=f"{{0}}.{'mean' if averages else 'amax'}((2, 3), keepdim=True){factor}")
    window = m.window
    factor = _factor(m, window.kernel)
    if stochastic or not _torch_agrees(window):
        function = "max_pool_with_indices" if masked else _FUNCTIONS[m.method]
        return Emitted(window_text(window), f"{function}({{0}}, {{self}}){factor}")
    text = make(
        "nn.AvgPool2d" if averages else "nn.MaxPool2d", square(window.kernel),
        stride=(square(window.stride), square(window.kernel)), padding=(square(window.pad), 0),
        ceil_mode=(window.ceil and window.stride != (1, 1), False), return_indices=(masked, False),
    )  # fmt: skip
    return Emitted(text, f"{{self}}({{0}}){factor}" if factor else "")


def _factor(module: Any, kernel: tuple[int, ...]) -> str:
    """What an average of such a window is multiplied by in fixed point; "" where that is 1."""
    factor = module.dpu_factor(kernel)
    return "" if factor == 1 else f" * {factor}"


def window_text(window: Window) -> str:
    """The window with what it does not leave at its default."""
    return make(
        "Window", window.kernel, stride=(window.stride, (1, 1)), pad=(window.pad, (0, 0)), ceil=(window.ceil, True),
        clips=(window.clips, True),
    )  # fmt: skip


def _torch_agrees(window: Window) -> bool:
    """Whether torch has the same windows on every plane: it wants them to start inside, and pad <= k / 2."""
    inside = any(window.pad) or all(s <= k for s, k in zip(window.stride, window.kernel, strict=True))
    return (inside or not window.ceil) and all(2 * p <= k for p, k in zip(window.pad, window.kernel, strict=True))


@emits("SPP")
def spp(c: LayerView) -> Emitted:
    return Emitted(call=f"pyramid_pool({{0}}, {c.module.levels}, {_FUNCTIONS[c.module.method]})")
