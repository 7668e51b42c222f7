"""Writing a net layer by layer, with the numbered names that converted PyTorch networks carry."""

from __future__ import annotations

from collections import Counter

from caffecompat.schema import pb

__all__ = ["NetBuilder"]


class NetBuilder:
    """Appends layers to a NetParameter; every method returns the name of the top.

    Names are a kind and a running number (``ConvNd_3``), as the published
    weights of the segmentation networks have them. Convolutions and
    deconvolutions count together.
    """

    def __init__(self, name: str, moving_average_fraction: float | None = None) -> None:
        self.net = pb.NetParameter(name=name)
        self._moving_average_fraction = moving_average_fraction
        self._numbers: Counter[str] = Counter()

    def number(self, kind: str) -> str:
        """The next name of that kind."""
        self._numbers[kind] += 1
        return f"{kind}_{self._numbers[kind]}"

    def layer(self, type_name: str, name: str, bottoms: tuple[str, ...], tops: tuple[str, ...]) -> pb.LayerParameter:
        """Append a bare layer and return its LayerParameter."""
        return self.net.layer.add(type=type_name, name=name, bottom=bottoms, top=tops)

    def conv(
        self,
        bottom: str,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution padded so that stride 1 keeps the size; an even kernel is not padded."""
        name = self.number("ConvNd")
        param = self.layer("Convolution", name, (bottom,), (name,)).convolution_param
        param.num_output = outputs
        param.bias_term = bias
        if isinstance(kernel, tuple):
            param.pad_h, param.pad_w = kernel[0] // 2, kernel[1] // 2
            param.kernel_h, param.kernel_w = kernel
        else:
            param.pad.append(dilation * (kernel // 2) if kernel % 2 else 0)
            param.kernel_size.append(kernel)
        param.stride.append(stride)
        param.dilation.append(dilation)
        param.weight_filler.type = "msra"
        return name

    def deconv(self, bottom: str, outputs: int, factor: int, *, bias: bool = False, name: str | None = None) -> str:
        """A learned upsampling: a deconvolution whose kernel is its stride."""
        name = name or self.number("ConvNd")
        param = self.layer("Deconvolution", name, (bottom,), (name,)).convolution_param
        param.num_output = outputs
        param.bias_term = bias
        param.kernel_size.append(factor)
        param.stride.append(factor)
        param.weight_filler.type = "msra"
        return name

    def bilinear(self, bottom: str, channels: int) -> str:
        """A fixed bilinear upsampling by two: a grouped deconvolution that is not trained."""
        name = self.number("UpsamplingBilinear2d")
        layer = self.layer("Deconvolution", name, (bottom,), (name,))
        layer.param.add(lr_mult=0, decay_mult=0)
        param = layer.convolution_param
        param.num_output = param.group = channels
        param.bias_term = False
        param.pad.append(1)
        param.kernel_size.append(4)
        param.stride.append(2)
        param.weight_filler.type = "bilinear"
        return name

    def norm(self, bottom: str, *, relu: bool = True) -> str:
        """Batch normalization in the Xilinx layout (scale, shift, mean, variance), with an in-place ReLU."""
        name = self.number("BatchNorm")
        layer = self.layer("BatchNorm", name, (bottom,), (name,))
        for learned in (1, 1, 0, 0):
            layer.param.add(lr_mult=learned, decay_mult=0)
        if self._moving_average_fraction is not None:
            layer.batch_norm_param.moving_average_fraction = self._moving_average_fraction
        layer.batch_norm_param.eps = 1e-5
        layer.batch_norm_param.scale_filler.type = "constant"
        layer.batch_norm_param.scale_filler.value = 1
        layer.batch_norm_param.bias_filler.type = "constant"
        layer.batch_norm_param.bias_filler.value = 0
        return self.relu(name) if relu else name

    def relu(self, blob: str) -> str:
        """An in-place ReLU."""
        self.layer("ReLU", self.number("Threshold"), (blob,), (blob,))
        return blob

    def add(self, *bottoms: str) -> str:
        """The sum of equal shapes."""
        name = self.number("Add")
        self.layer("Eltwise", name, bottoms, (name,))
        return name

    def concat(self, *bottoms: str) -> str:
        """Channels side by side."""
        name = self.number("Concat")
        self.layer("Concat", name, bottoms, (name,)).concat_param.axis = 1
        return name

    def pool(self, bottom: str, kind: str) -> str:
        """3x3 pooling with stride 2 and Caffe's rounding up; `kind` is MAX or AVE."""
        name = self.number({"MAX": "MaxPool2d", "AVE": "AvgPool2d"}[kind])
        param = self.layer("Pooling", name, (bottom,), (name,)).pooling_param
        param.pool = getattr(pb.PoolingParameter, kind)
        param.kernel_size, param.stride = 3, 2
        return name
