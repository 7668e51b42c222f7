"""The Caffes that this library knows by name, and which of them a person named."""

from __future__ import annotations

import os
from enum import Enum
from typing import NamedTuple

from caffecompat.errors import CaffeCompatError
from caffecompat.wording import did_you_mean

__all__ = [
    "ENVIRONMENT",
    "NAMES",
    "Fork",
    "ForkChoice",
    "ForkName",
    "choice_of",
    "environment_fork",
    "name_fork",
    "named_fork",
    "named_without_effect",
]


class Fork(Enum):
    """A Caffe with fields, layer types or rules of its own; the value is its name for people.

    >>> Fork["PSPNET"].value
    'PSPNet Caffe'
    """

    BVLC = "BVLC Caffe"
    SSD = "SSD Caffe"
    NVCAFFE = "NVCaffe"
    JACINTO = "caffe-jacinto 0.17"
    JACINTO16 = "caffe-jacinto 0.16"
    JACINTO15 = "caffe-jacinto 0.15"
    XILINX = "Xilinx Caffe"
    INTEL = "Intel Caffe"
    ENET = "ENet Caffe"
    SEGNET = "SegNet Caffe"
    PSPNET = "PSPNet Caffe"
    DEEPLAB = "DeepLab Caffe"
    HED = "HED Caffe"
    RCF = "RCF Caffe"
    RCNN = "R-CNN Caffe"
    FACE = "caffe-face"
    YOLO = "MobileNet-YOLO Caffe"
    FOCAL = "Focal-Loss Caffe"
    C3D = "C3D"
    CRNN = "crnn.caffe"
    WINDOWS = "caffe-windows"
    MOBILE = "caffe-mobilenet and ShuffleNet's Caffe"
    FLOWNET2 = "FlowNet2's Caffe"

    @property
    def is_nvcaffe(self) -> bool:
        """NVIDIA's Caffe, and TI's, which is built on it and shares its layers' and solver's rules."""
        return self in (Fork.NVCAFFE, Fork.JACINTO, Fork.JACINTO16, Fork.JACINTO15)

    @property
    def learns_batch_norm(self) -> bool:
        """Its BatchNorm layer has a scale and a bias of its own, so that its ``param`` entries may be left to learn."""
        return self is Fork.XILINX or self.is_nvcaffe

    @property
    def is_segnet(self) -> bool:
        """SegNet's Caffe, and ENet's, which takes its BN, Upsample and DenseImageData from there."""
        return self in (Fork.SEGNET, Fork.ENET)

    @property
    def is_deeplab(self) -> bool:
        """DeepLab's Caffe, and PSPNet's, which is built on it."""
        return self in (Fork.DEEPLAB, Fork.PSPNET)

    @property
    def is_hed(self) -> bool:
        """HED's Caffe, and RCF's, which is built on it."""
        return self in (Fork.HED, Fork.RCF)

    def knows_what_is_of(self, other: Fork) -> bool:
        """Whether it has what is the other fork's own, being of the same family or having taken it over."""
        families = ("is_nvcaffe", "is_segnet", "is_deeplab", "is_hed")
        took_over = other is Fork.SSD and (self.is_nvcaffe or self in (Fork.XILINX, Fork.INTEL))
        return self is other or took_over or any(getattr(self, name) and getattr(other, name) for name in families)


class ForkChoice(NamedTuple):
    """Whose rules a net or solver follows, and why.

    Attributes:
        fork: the Caffe whose rules hold.
        why: what named or showed it, as the end of a sentence; "" where nothing did and BVLC's rules hold.
        named: a person named it, so that no field of a text counts against it.
    """

    fork: Fork = Fork.BVLC
    why: str = ""
    named: bool = False

    @property
    def stored(self) -> Fork | None:
        """What files of weights store: the fork, where a person named it."""
        return self.fork if self.named else None

    def __str__(self) -> str:
        return f"the rules of {self.fork.value} hold, {self.why or 'as nothing shows another fork (--fork names one)'}"


ForkName = Fork | ForkChoice | str

_NAMES = {
    name: Fork[name.upper()]
    for name in (
        "bvlc", "ssd", "nvcaffe", "jacinto", "xilinx", "intel", "enet", "segnet", "pspnet", "deeplab", "hed", "rcf",
    )
}  # fmt: skip
NAMES = tuple(_NAMES)
"""What ``--fork`` takes: the forks whose rules differ from BVLC's beyond their own layers."""

ENVIRONMENT = "CAFFECOMPAT_FORK"

_named: ForkChoice | None = None
_asked = False  # whether anything went by `_named`


def choice_of(name: ForkName, by: str = "fork=") -> ForkChoice:
    """A fork that a person named, in letters of any case; a choice that was made already stays as it is.

    Args:
        by: where it was named, for messages.

    Raises:
        CaffeCompatError: no fork has that name.
    """
    if isinstance(name, ForkChoice):
        return name
    fork = name if isinstance(name, Fork) else _NAMES.get(str(name).strip().lower())
    if fork is None:
        hint = did_you_mean(str(name).strip().lower(), NAMES)
        raise CaffeCompatError(f"{by}: there is no fork {name!r}{hint} (known are {', '.join(NAMES)})")
    return ForkChoice(fork, f"named by {by}", True)


def name_fork(choice: ForkChoice | None) -> None:
    """Let a fork's rules hold for all nets read from now on, in this process; None lets their texts show it again."""
    global _named, _asked
    _named, _asked = choice, False


def named_fork() -> ForkChoice | None:
    """What :func:`name_fork` was given."""
    global _asked
    _asked = True
    return _named


def named_without_effect() -> bool:
    """Whether a fork is named, and no net has been read since."""
    return _named is not None and not _asked


def environment_fork() -> ForkChoice | None:
    """The fork that ``CAFFECOMPAT_FORK`` names; None where it is unset or empty.

    Raises:
        CaffeCompatError: no fork has that name.
    """
    name = os.environ.get(ENVIRONMENT, "")
    return choice_of(name, ENVIRONMENT) if name.strip() else None
