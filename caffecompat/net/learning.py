"""What of a net learns beside what its prototxt says: learning rates by pattern, and frozen batch normalization."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Scale
from caffecompat.net.layer import NetLayer
from caffecompat.schema.layer_patterns import matches_layer, no_match

__all__ = ["Learning"]


@dataclass(frozen=True)
class Learning:
    """Wishes that stand above the `param` blocks of a prototxt.

    Attributes:
        lr_mults: ``PATTERN=NUMBER``: the lr_mult of all learned blobs of the layers that the pattern names; of several
            that name a layer the last holds.
        freeze_bn: BatchNorm and PSPNet's BN normalize by their stored statistics, in TRAIN too, and leave them as they
            are; their scale and bias, and those of a Scale layer right after a BatchNorm, do not learn.
    """

    lr_mults: Sequence[str] = ()
    freeze_bn: bool = False

    def apply(self, layers: Sequence[NetLayer]) -> None:
        """Put the multipliers into the layers' `param` blocks; what is frozen stays so whatever a pattern says.

        Raises:
            CaffeCompatError: a setting has another form.
        """
        for pattern, number in map(_parted, self.lr_mults):
            for layer in layers:
                if matches_layer(pattern, layer.param):
                    _set_lr_mult(layer, number)
        if self.freeze_bn:
            for layer in _scales_of_norms(layers):
                _set_lr_mult(layer, 0)

    def blank_norms(self, layers: Sequence[NetLayer]) -> list[str]:
        """Names of frozen BatchNorm layers whose stored variance is 0 everywhere, as before any training."""
        norms = [(layer.name, layer.module) for layer in layers if self.freeze_bn]
        return [name for name, norm in norms if isinstance(norm, BatchNorm) and not bool(norm.variance.any())]

    def check_all_used(self, layers: Sequence[NetLayer]) -> None:
        """Make sure that each pattern names a layer that learns.

        Raises:
            CaffeCompatError: one does not.
        """
        for setting in self.lr_mults:
            pattern, _ = _parted(setting)
            named = [layer for layer in layers if matches_layer(pattern, layer.param)]
            if not named:
                missing = no_match(pattern, [each.name for each in layers], [each.type for each in layers])
                raise CaffeCompatError(f"--lr-mult {setting}: the train net {missing}")
            if not any(slot.learned for layer in named for slot in layer.slots):
                raise CaffeCompatError(f"--lr-mult {setting}: no layer that {pattern!r} names has weights that learn")


def _parted(setting: str) -> tuple[str, float]:
    pattern, _, text = setting.rpartition("=")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not pattern or not 0 <= number < math.inf:
        raise CaffeCompatError(f"--lr-mult {setting}: expected PATTERN=NUMBER, for example --lr-mult 'fc*=10'")
    return pattern, number


def _set_lr_mult(layer: NetLayer, number: float) -> None:
    if not any(slot.learned for slot in layer.slots):
        return
    for slot in layer.slots:
        stated = slot.index < len(layer.param.param)
        spec = layer.param.param[slot.index] if stated else layer.param.param.add()
        if slot.learned or not stated:
            spec.lr_mult = number if slot.learned else 0


def _scales_of_norms(layers: Sequence[NetLayer]) -> Iterator[NetLayer]:
    """The Scale layers with blobs of their own whose only bottom a BatchNorm has just made."""
    made: dict[str, NetLayer] = {}
    for layer in layers:
        bottoms = list(layer.bottoms)
        maker = made.get(bottoms[0]) if len(bottoms) == 1 else None
        if isinstance(layer.module, Scale) and maker is not None and isinstance(maker.module, BatchNorm):
            yield layer
        made.update(dict.fromkeys(layer.tops, layer))
