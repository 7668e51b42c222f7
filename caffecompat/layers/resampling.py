"""Layers that change a map's size outside of pooling and deconvolution: Upsample, Interp, DeephiResize."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from caffecompat.layers.functional.resampling import corner_size, resize_by_corners, resize_nearest, unpool
from caffecompat.layers.layer import Context, Layer, LayerError, Shape, View, values_known
from caffecompat.layers.precision import Precision
from caffecompat.layers.registry import register
from caffecompat.schema import pb

__all__ = ["DeephiResize", "Interp", "Upsample"]


@register("Upsample")
class Upsample(Layer):
    """Puts each value back where max pooling found it; everything else is 0 (ENet, SegNet).

    With one bottom (eric612/MobileNet-YOLO, and the nets that converters of Darknet's YOLO v3 write) each value is
    repeated `scale` times along both axes, and `scale` must be given; no other setting can be given with it.

    Bottoms: values (N, C, H, W), and the mask of a Pooling layer's second top, of the same shape, whose entries are
    places h * W_out + w in the top's plane. The top is H * scale x W * scale (scale 2, or scale_h and scale_w), one
    less where pad_out_h or pad_out_w says so, or upsample_h x upsample_w. Where two values fall on one place the
    later one stays; backward gathers for both. The mask gets no gradient.
    """

    precision = Precision.HALF
    bottoms = (1, 2)

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, data, mask = param.upsample_param, bottom_shapes[0], bottom_shapes[-1]
        self.repeats = len(bottom_shapes) == 1
        if self.repeats:
            if len(data) != 4:
                raise LayerError(f"Upsample needs a bottom (N, C, H, W), it has shape {tuple(data)}")
            if [field.name for field, _ in p.ListFields()] != ["scale"] or p.scale < 1:
                raise LayerError(
                    "without a pooling's mask as second bottom it repeats values, and takes scale alone (1 or more), "
                    "as in upsample_param { scale: 2 }"
                )
        elif len(data) != 4 or tuple(data) != tuple(mask):
            raise LayerError(
                f"the values have shape {tuple(data)}, the mask {tuple(mask)}; both must be one (N, C, H, W)"
            )
        for pair in (("scale_h", "scale_w"), ("upsample_h", "upsample_w")):
            if p.HasField(pair[0]) != p.HasField(pair[1]):
                raise LayerError(f"{pair[0]} and {pair[1]} must be given together")
        if p.HasField("scale_h") and p.HasField("scale"):
            raise LayerError("give scale, or scale_h and scale_w, not both")
        self.scale = (p.scale_h, p.scale_w) if p.HasField("scale_h") else (p.scale, p.scale)
        self.less = (p.pad_out_h, p.pad_out_w)
        if any(less and scale != 2 for less, scale in zip(self.less, self.scale, strict=True)):
            raise LayerError("pad_out_h and pad_out_w need a scale of 2")
        self.outright = (p.upsample_h, p.upsample_w) if p.HasField("upsample_h") else None

    def sample_bottom(
        self, place: int, bottoms: Sequence[Shape], tops: Sequence[Shape], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Different places h W + w in the top for the values of each plane."""
        if place != 1:
            return None
        planes, count = math.prod(bottoms[1][:2]), math.prod(bottoms[1][2:])
        places = [rng.permutation(tops[0][2] * tops[0][3])[:count] for _ in range(planes)]
        return np.reshape(places, bottoms[1])

    def _size(self, shape: Sequence[int]) -> tuple[int, int]:
        if self.outright is not None:
            return self.outright
        height, width = (
            int(size) * scale - int(less) for size, scale, less in zip(shape[2:], self.scale, self.less, strict=True)
        )
        return height, width

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def view(self, bottom: Shape, top: Shape) -> View:
        """A value is put into a window of the pooling before it, whose last ones may be cut by the edge."""
        height, width = (max(1, round(after / before)) for before, after in zip(bottom[2:], top[2:], strict=True))
        return View((1, 1), (1 / height, 1 / width))

    def forward(self, data: Tensor, mask: Tensor | None = None) -> Tensor:
        height, width = self._size(data.shape)
        if mask is None:
            return resize_nearest(data, (height, width))
        places = mask.detach().long()
        if values_known(places) and places.numel():
            least, greatest = (int(value) for value in places.aminmax())
            if least < 0 or greatest >= height * width:
                wrong = least if least < 0 else greatest
                raise LayerError(
                    f"the mask points at place {wrong}, the top's plane has {height * width} ({height} x {width}); "
                    "is it the mask of the pooling that this layer undoes?"
                )
        return unpool(data, places, (height, width))


@register("Interp")
class Interp(Layer):
    """Bilinear resizing whose corners stay corners (PSPNet, DeepLab).

    The bottom (N, C, H, W) is first cropped by -pad_beg and -pad_end pixels on each axis. The size is
    (in - 1) / shrink_factor + 1, in + (in - 1) * (zoom_factor - 1), height x width, or shrinking and then zooming,
    whichever fields are given, in this order. With a second bottom (afriesen/caffe, yangguorun/SegStereo) it is that
    one's height and width, and no such field can be given: what is pooled over the picture (DeepLab's image pooling,
    PSPNet's pyramid) comes back to the size of the map that it was pooled from, at any size of the input.
    """

    bottoms = (1, 2)
    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p, shape = param.interp_param, bottom_shapes[0]
        for wrong in (shape for shape in bottom_shapes if len(shape) != 4):
            raise LayerError(f"Interp needs a bottom (N, C, H, W), it has shape {tuple(wrong)}")
        if p.pad_beg > 0 or p.pad_end > 0:
            raise LayerError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end}: only cropping (0 or less) is possible")
        for field in ("shrink_factor", "zoom_factor"):
            if p.HasField(field) and getattr(p, field) < 1:
                raise LayerError(f"{field} {getattr(p, field)} must be at least 1")
        given = [p.HasField(field) for field in ("shrink_factor", "zoom_factor", "height", "width")]
        if len(bottom_shapes) == 2:
            if any(given):
                raise LayerError("its second bottom gives the size; take shrink_factor, zoom_factor, height, width out")
        elif not any(given) or (given[2] != given[3]):
            raise LayerError(
                "give shrink_factor, zoom_factor, both, height and width, or a second bottom of the size to be made"
            )
        self.begin, self.end = -p.pad_beg, p.pad_end  # cropped where positive, where negative
        self.shrink = p.shrink_factor if given[0] else 1
        self.zoom = p.zoom_factor if given[1] else 1
        self.size = (p.height, p.width) if given[2] and given[0] == given[1] else None
        size = self._size(*bottom_shapes)
        if min(*size, *(length - self.begin + self.end for length in shape[2:])) < 1:
            raise LayerError(f"a bottom of shape {tuple(shape)} would be resized to {size[0]} x {size[1]}")

    def _size(self, shape: Sequence[int], reference: Sequence[int] | None = None) -> tuple[int, int]:
        if reference is not None:
            return reference[2], reference[3]
        if self.size is not None:
            return self.size
        height, width = (
            corner_size(int(length) - self.begin + self.end, self.shrink, self.zoom) for length in shape[2:]
        )
        return height, width

    def needs_gradient(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Four weighted values for each of the top."""
        return 4 * math.prod(top_shapes[0])

    def view(self, bottom: Shape, top: Shape) -> View:
        """Corners stay corners, so that in - 1 steps become out - 1."""
        sides = [(before - self.begin + self.end, after) for before, after in zip(bottom[2:], top[2:], strict=True)]
        strides = [(before - 1) / (after - 1) if min(before, after) > 1 else before / after for before, after in sides]
        spans = [1 if stride % 1 == 0 or before == 1 else 2 for (before, _), stride in zip(sides, strides, strict=True)]
        return View((spans[0], spans[1]), (strides[0], strides[1]))

    def forward(self, bottom: Tensor, reference: Tensor | None = None) -> Tensor:
        height, width = bottom.shape[2] + self.end, bottom.shape[3] + self.end
        cropped = bottom[:, :, self.begin : height, self.begin : width]
        size = self.size if reference is None else tuple(reference.shape[2:])
        if size is None:
            return resize_by_corners(cropped, self.shrink, self.zoom)
        if tuple(cropped.shape[2:]) == size:
            return cropped
        return F.interpolate(cropped, size, mode="bilinear", align_corners=True)


@register("DeephiResize")
class DeephiResize(Layer):
    """Resizes (N, C, H, W) to new_height x new_width, or by scale_h, scale_w (sizes cut to integers) (Xilinx).

    resize_type BILINEAR (pixel centers at half, edges repeated) or NEAREST, the
    default: floor(i * in / out). Gradients flow back, which the original lacks.
    """

    precision = Precision.HALF

    def __init__(self, param: pb.LayerParameter, bottom_shapes: Sequence[Shape], context: Context) -> None:
        super().__init__(param, bottom_shapes, context)
        p = param.deephi_resize_param
        if len(bottom_shapes[0]) != 4:
            raise LayerError(f"DeephiResize needs a bottom (N, C, H, W), it has shape {tuple(bottom_shapes[0])}")
        if p.HasField("new_height") != p.HasField("new_width"):
            raise LayerError("new_height and new_width must be given together")
        self.bilinear = p.resize_type == p.BILINEAR
        self.size = (p.new_height, p.new_width) if p.HasField("new_height") else None
        self.scales = (p.scale_h, p.scale_w)
        self._size(bottom_shapes[0])

    def _size(self, shape: Shape) -> tuple[int, int]:
        size = self.size or (int(shape[2] * self.scales[0]), int(shape[3] * self.scales[1]))
        if min(size) < 1:
            raise LayerError(f"a bottom of shape {tuple(shape)} would be resized to {size[0]} x {size[1]}")
        return size

    def macs(self, bottom_shapes: Sequence[Shape], top_shapes: Sequence[Shape]) -> int:
        """Four weighted values for each of the bilinear top."""
        return 4 * math.prod(top_shapes[0]) if self.bilinear else 0

    def view(self, bottom: Shape, top: Shape) -> View:
        strides = bottom[2] / top[2], bottom[3] / top[3]
        if not self.bilinear:
            return View((1, 1), strides)
        # A stride that is odd puts every center of the top on one of the bottom's.
        spans = [1 if stride % 2 == 1 or size == 1 else 2 for stride, size in zip(strides, bottom[2:], strict=True)]
        return View((spans[0], spans[1]), strides)

    def forward(self, bottom: Tensor) -> Tensor:
        size = self._size(bottom.shape)
        if self.bilinear:
            return F.interpolate(bottom, size, mode="bilinear", align_corners=False)
        return resize_nearest(bottom, size)
