"""Torch source of ArgMax and Reduction."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, number


@emits("ArgMax")
def arg_max(c: LayerView) -> Emitted:
    module = c.module
    if module.axis is not None and module.top_k == 1:
        if module.with_values:
            return Emitted(call=f"{{0}}.amax({module.axis}, keepdim=True)")
        return Emitted(call=f"arg_max({{0}}, {module.axis})", helpers=("arg_max",))
    if module.axis is not None:
        which = 1 if module.with_values else 0
        return Emitted(call=f"largest({{0}}, {module.top_k}, {module.axis})[{which}]", helpers=("largest",))
    found = f"largest({{0}}.flatten(1), {module.top_k}, 1)"
    text = f"torch.stack({found}, 1)" if module.with_values else f"{found}[0][:, None]"
    behind = len(c.shape) - 3
    return Emitted(call=text + (f"[..., {', '.join(['None'] * behind)}]" if behind > 0 else ""), helpers=("largest",))


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
