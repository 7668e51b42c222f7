"""The Caffes that this library knows by name."""

from __future__ import annotations

from enum import Enum

__all__ = ["Fork"]


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
