"""Changes of size: bilinear deconvolutions, and resizing with aligned corners."""

from __future__ import annotations

from collections.abc import Collection

from caffecompat.deploy.bilinear import bilinear_factor
from caffecompat.deploy.onnx.emission import UnsupportedLayer
from caffecompat.deploy.onnx.resize import resize
from caffecompat.deploy.targets.graph_pass import GraphPass, Site
from caffecompat.layers.resampling import Interp

__all__ = ["BilinearAsResize", "HalfPixelCenters"]

_CENTERS = "coordinate_transformation_mode"


class BilinearAsResize(GraphPass):
    """A ConvTranspose that upsamples bilinearly becomes a Resize, by the factors that the target has."""

    operators = frozenset({"ConvTranspose"})

    def __init__(self, target: str, factors: Collection[int]) -> None:
        self.target, self.factors = target, factors

    def visit(self, site: Site) -> None:
        weight, bias = site.constant(1), site.constant(2)
        value, output = site.node.input[0], site.node.output[0]
        before, after = site.shape(value), site.shape(output)
        if weight is None or before is None or after is None:
            return
        kernel = site.attribute("kernel_shape")
        pads = site.attribute("pads")
        factor = bilinear_factor(
            weight, bias, group=site.attribute("group", 1), kernel=kernel, stride=site.attribute("strides"),
            pad=pads[: len(kernel)], dilation=site.attribute("dilations"),
        )  # fmt: skip
        if not factor:
            return
        if factor not in self.factors:
            site.note(f"upsampling by {factor} stays a ConvTranspose: {self.target} resizes by {self.factors} only")
            return
        resize(site.replace(), value, before, after, "linear", "half_pixel", output)
        site.note(
            f"bilinear Deconvolution became a Resize by {factor} (half_pixel): at the borders a deconvolution fades to "
            "0, a Resize repeats the edge",
            exact=False,
        )


class HalfPixelCenters(GraphPass):
    """No target aligns corners as Interp does: with --approx it is resized by the centers of pixels."""

    operators = frozenset({"Resize"})

    def __init__(self, target: str, approx: bool) -> None:
        self.target, self.approx = target, approx

    def visit(self, site: Site) -> None:
        if not isinstance(site.module, Interp) or site.attribute(_CENTERS) != b"align_corners":
            return
        if not self.approx:
            raise UnsupportedLayer(
                f"{self.target} cannot resize with aligned corners, as Interp does; --approx writes a half_pixel "
                "Resize instead, which shifts values by up to half a pixel"
            )
        site.set_attribute(_CENTERS, "half_pixel")
        site.note("Interp (aligned corners) became a half_pixel Resize, which shifts values", exact=False)
