"""Pictures of any size: which of them a data layer has to resize, and how it is told so."""

from __future__ import annotations

from caffecompat.zoo.network import Fields, Network, Recipe

__all__ = ["needed_size", "resizing"]

# What brings pictures of any size to one, or scales and pads them up to the crop.
_WAYS = ("random_resized_crop_param", "resize_param", "scale_min", "short_side")


def needed_size(network: Network, recipe: Recipe, transform: Fields) -> tuple[int, int] | None:
    """(height, width) that pictures must be brought to; None where they can stay as they are.

    Args:
        transform: transform_param of the data layer.
    """
    if not recipe.any_size or any(way in transform for way in _WAYS):
        return None
    crop = transform.get("crop_size")
    if not crop or network.task == "segmentation":
        return recipe.height, recipe.width
    return crop * 8 // 7, crop * 8 // 7  # as 256 for crops of 224


def resizing(size: tuple[int, int] | None) -> Fields:
    """The fields of transform_param for that."""
    if size is None:
        return {}
    return {
        "resize_param": {
            "prob": 1, "resize_mode": "WARP", "height": size[0], "width": size[1], "interp_mode": ["LINEAR"]
        }
    }  # fmt: skip
