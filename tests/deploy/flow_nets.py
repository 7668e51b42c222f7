"""Nets of one of FlowNet2's layers, and inputs for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.deploy.region_nets import Inputs, net

A, B = (2, 6, 7, 9), (2, 3, 5, 4)


def normal(*shapes: Sequence[int], spread: float = 1, lost: float = 0) -> Inputs:
    """Inputs a, b, ... of those shapes; a share of the first is NaN."""

    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        made = {
            name: rng.normal(0, spread, shape).astype(np.float32) for name, shape in zip("ab", shapes, strict=False)
        }
        made["a"][rng.random(made["a"].shape) < lost] = np.nan
        return made

    return make


def of_two(kind: str, settings: str, other: Sequence[int] = A, spread: float = 1) -> tuple[str, Inputs]:
    return net({"a": A, "b": other}, f'type: "{kind}" {settings}'), normal(A, other, spread=spread)


def of_one(kind: str, settings: str, lost: float = 0) -> tuple[str, Inputs]:
    return net({"a": A}, f'type: "{kind}" {settings}'), normal(A, lost=lost)


def correlated(settings: str, kind: str = "Correlation") -> tuple[str, Inputs]:
    return of_two(kind, f"correlation_param {{ {settings} }}")


def cropped(settings: str) -> tuple[str, Inputs]:
    shape = (2, 3, 7, 9)
    text = f'type: "DataAugmentation" augmentation_param {{ mean_per_pixel: false {settings} }}'
    return net({"a": shape}, text), normal(shape)


MEAN = "mean: 0.4 mean: 0.5 mean: 0.6"

FLOW_NETS: dict[str, tuple[str, Inputs]] = {
    "Correlation": correlated("pad: 4 kernel_size: 1 max_displacement: 4 stride_2: 2"),
    "Correlation of patches": correlated("pad: 4 kernel_size: 3 max_displacement: 3 stride_1: 2"),
    "Correlation of pixels apart": correlated("kernel_size: 1 max_displacement: 2 stride_1: 2"),
    "Correlation of differences": correlated("pad: 2 kernel_size: 3 max_displacement: 2 correlation_type: SUBTRACT"),
    "Correlation1D": correlated("pad: 3 kernel_size: 1 max_displacement: 3", "Correlation1D"),
    "Correlation1D to the left": correlated(
        "pad: 3 kernel_size: 1 max_displacement: 3 single_direction: -1", "Correlation1D"
    ),
    "ChannelNorm": of_one("ChannelNorm", ""),
    "FlowWarp": of_two("FlowWarp", "", (2, 2, 7, 9), spread=3),
    "FlowWarp with NaN": of_two("FlowWarp", "flow_warp_param { fill_value: NOT_A_NUMBER }", (2, 2, 7, 9), spread=3),
    "Resample": of_one("Resample", "resample_param { width: 18 height: 14 }"),
    "Resample to a reference": of_two("Resample", "", B),
    "Resample of other factors": of_one("Resample", "resample_param { width: 27 height: 10 }"),
    "Resample by cubes": of_one("Resample", "resample_param { width: 12 height: 12 type: CUBIC }"),
    "Resample without antialias": of_one("Resample", "resample_param { width: 4 height: 3 antialias: false }"),
    "Resample of the nearest": of_one("Resample", "resample_param { width: 12 height: 5 type: NEAREST }"),
    "Downsample": of_one("Downsample", "downsample_param { top_width: 4 top_height: 3 }", lost=0.3),
    "Downsample to a reference": of_two("Downsample", "", B),
    "Accum": of_two("Accum", "", B),
    "Accum to a reference": of_two("Accum", "accum_param { have_reference: true }", B),
    "DataAugmentation": cropped(f"crop_width: 9 crop_height: 7 {MEAN}"),
    "DataAugmentation between pixels": cropped(f"crop_width: 4 crop_height: 5 {MEAN}"),
    "DataAugmentation without a crop": cropped(MEAN),
    "DataAugmentation without a mean": cropped("crop_width: 5 crop_height: 5"),
}
