"""Torch source of Proposal."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, make, number
from caffecompat.layers.proposal import Proposal, PythonProposal


def proposals(c: LayerView, module: Proposal | PythonProposal, *, keepdim: bool = False) -> Emitted:
    """The rules in the module's place, and the function that follows them."""
    rules = module.rules
    text = make(
        "ProposalRules", rules.stride, rules.before, rules.after, rules.overlap, rules.least,
        inclusive=(rules.inclusive, True), small=(rules.small, "last"),
    )  # fmt: skip
    if module.anchor_shapes is not None:
        anchors = make("make_anchors", *module.anchor_shapes)
    else:
        boxes = ", ".join(f"({', '.join(map(number, box))})" for box in module.anchors.tolist())
        anchors = f"torch.tensor([{boxes}])"
    alone = len(c.tops) == 1
    call = calling("propose_regions", "{0}", "{1}", "{2}", anchors, "{self}", keepdim=(keepdim and not alone, False))
    return Emitted(text, f"{call}[0]" if alone else call)


@emits("Proposal")
def proposal(c: LayerView) -> Emitted:
    return proposals(c, c.module)
