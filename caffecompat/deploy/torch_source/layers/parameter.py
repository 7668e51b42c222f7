"""Torch source of Parameter."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits


@emits("Parameter")
def parameter(c: LayerView) -> Emitted:
    return Emitted(f"nn.Parameter(torch.zeros{_call(c.tops[0])})", "{self}", {"": c.blobs[0]})


def _call(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
