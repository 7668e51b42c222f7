"""Torch source of SSD's PriorBox."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, number


@emits("PriorBox")
def prior_box(c: LayerView) -> Emitted:
    m, p = c.module, c.param.prior_box_param
    sizes = [f"({number(width)}, {number(height)})" for width, height in m.sizes.tolist()]
    variances = [number(value) for value in m.variances.tolist()]
    words = [f"[{', '.join(sizes)}]", f"[{', '.join(variances)}]"]
    for name, pair in (("step", m.step), ("image", m.image)):
        if pair is not None:
            words.append(f"{name}=({number(float(pair[0]))}, {number(float(pair[1]))})")
    words += [f"offset={number(p.offset)}"] if p.offset != 0.5 else []
    words += ["clip=True"] if p.clip else []
    return Emitted(f"PriorBox({', '.join(words)})", helpers=("PriorBox",))
