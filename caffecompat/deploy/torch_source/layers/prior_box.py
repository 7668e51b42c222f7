"""Torch source of SSD's PriorBox."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, number


@emits("PriorBox")
def prior_box(c: LayerView) -> Emitted:
    m = c.module
    sizes = ", ".join(f"({number(width)}, {number(height)})" for width, height in m.sizes)
    call = calling(
        "prior_boxes", "{0}", "{1}", f"[{sizes}]", f"[{', '.join(map(number, m.variances))}]",
        step=(m.step, None), image=(m.image, None), offset=(m.offset, 0.5), clip=(m.clips, False),
    )  # fmt: skip
    return Emitted(call=call)
