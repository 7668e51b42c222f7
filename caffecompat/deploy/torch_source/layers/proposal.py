"""Torch source of Proposal."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, number
from caffecompat.layers.proposal import Proposal, PythonProposal


def proposals(module: Proposal | PythonProposal, scores: int) -> Emitted:
    """RegionProposals; `scores` is the number of axes of its second top, 0 without one."""
    rules = module.rules
    anchors = ", ".join(f"({', '.join(number(value) for value in box)})" for box in module.anchors.tolist())
    words = make(
        "", rules.stride, rules.before, rules.after, rules.overlap, rules.least, small=(rules.small, "last"),
        scores=(scores, 0),
    )  # fmt: skip
    return Emitted(f"RegionProposals([{anchors}], {words[1:]}", helpers=("RegionProposals",))


@emits("Proposal")
def proposal(c: LayerView) -> Emitted:
    return proposals(c.module, 1 if len(c.tops) > 1 else 0)
