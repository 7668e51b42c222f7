"""Torch source of ArgMax and Reduction."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, number


@emits("ArgMax")
def arg_max(c: LayerView) -> Emitted:
    m = c.module
    if m.axis is None:
        call = calling("arg_max_of_items", "{0}", count=(m.top_k, 1), with_values=(m.with_values, False))
        return Emitted(call=call)
    if not m.with_values:
        return Emitted(call=calling("arg_max", "{0}", str(m.axis), count=(m.top_k, 1)))
    if m.top_k == 1:
        return Emitted(call=f"{{0}}.amax({m.axis}, keepdim=True)")
    return Emitted(call=f"top_k({{0}}, {m.top_k}, {m.axis})[0]")


@emits("Reduction")
def reduction(c: LayerView) -> Emitted:
    module = c.module
    axes = "" if module.axis == 0 else str(tuple(range(module.axis, len(c.shape))))
    axes = axes.replace(",)", ")")
    text = {
        "MEAN": f"{{0}}.mean({axes})",
        "ASUM": f"{{0}}.abs().sum({axes})",
        "SUMSQ": f"{{0}}.square().sum({axes})",
        "SUM": f"{{0}}.sum({axes})",
    }[module.operation]
    return Emitted(call=text if module.coeff == 1 else f"{number(module.coeff)} * {text}")
