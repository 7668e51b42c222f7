"""Torch source of Eltwise and Axpy."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, number


@emits("Eltwise")
def eltwise(c: LayerView) -> Emitted:
    module, names = c.module, [f"{{{i}}}" for i in range(len(c.bottoms))]
    if module.operation == "MAX":
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        return Emitted(call=text)
    if module.operation == "PROD":
        return Emitted(call=" * ".join(names))
    text = ""
    for name, coeff in zip(names, module.coeffs, strict=True):
        sign = ("-" if coeff < 0 else "") if not text else " - " if coeff < 0 else " + "
        text += sign + (name if abs(coeff) == 1 else f"{number(abs(coeff))} * {name}")
    return Emitted(call=text)


@emits("Axpy")
def axpy(c: LayerView) -> Emitted:
    missing = len(c.bottoms[1]) - len(c.shape)
    factor = f"{{0}}[..., {', '.join(['None'] * missing)}]" if missing else "{0}"
    return Emitted(call=f"torch.addcmul({{2}}, {factor}, {{1}})")
