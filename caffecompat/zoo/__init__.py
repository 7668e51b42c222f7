"""Builders of the networks in ``models/``."""

from caffecompat.zoo.networks import NETWORKS, Segmentation, lenet_files, segmentation_files

__all__ = ["NETWORKS", "Segmentation", "lenet_files", "segmentation_files"]
