"""Whether the blobs of ENet's and SegNet's BN mean in a weight file what they mean in the net.

In both modes they are a scale and a shift, (1, C, 1, 1). Under LEARN they come after a normalization by the batch;
for INFERENCE the forks' compute_bn_statistics.py has folded the mean and deviation of the training set into them. What
that script saves still says LEARN, as it is the net that the statistics were taken with; that net has tops for them,
named after the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from caffecompat.formats import LayerWeights
from caffecompat.layers.bn import BN
from caffecompat.net.layer import NetLayer
from caffecompat.wording import few

__all__ = ["mode_discrepancies"]

_FOLDED = (
    "these BN layers are folded in the file, scale and shift alone, but bn_mode LEARN in the prototxt normalizes by "
    "the batch before: their numbers will be wrong; use the prototxt with bn_mode INFERENCE"
)
_LEARNED = (
    "these BN layers normalize by the batch (bn_mode LEARN) in the file, but bn_mode INFERENCE in the prototxt is "
    "scale and shift alone: their numbers will be wrong; load weights that compute_bn_statistics.py has folded, or "
    "use bn_mode LEARN"
)


def mode_discrepancies(pairs: Iterable[tuple[LayerWeights, NetLayer]]) -> list[str]:
    """A text for each way in which layers contradict the file, with their names."""
    folded: list[str] = []
    learned: list[str] = []
    for stored, layer in pairs:
        module = layer.module
        if not stored.bn_mode or not isinstance(module, BN) or module.keeps_statistics:
            continue
        is_folded = stored.bn_mode == "INFERENCE" or _has_tops_of_script(stored.tops)
        if is_folded != module.folded:
            (folded if is_folded else learned).append(layer.name)
    return [f"{why}: {few(names, 8)}" for why, names in ((_FOLDED, folded), (_LEARNED, learned)) if names]


def _has_tops_of_script(tops: Sequence[str]) -> bool:
    return len(tops) == 3 and list(tops[1:]) == [f"{tops[0]}-mean", f"{tops[0]}-var"]
