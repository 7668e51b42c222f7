"""FlowNet2's deploy nets (lmb-freiburg/flownet2), with fewer channels: S, C, and the stack with its fusion.

The structure, the names and the settings are those of the public templates. A picture pair of any size is brought to
the adapted size, whose sides are multiples of 64; the flow is brought back and scaled by a diagonal convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

SLOPE = "relu_param { negative_slope: 0.1 }"
FILLED = 'weight_filler { type: "msra" } bias_filler { type: "uniform" min: -0.1 max: 0.1 }'
# What the training of such a net draws; a test draws nothing.
RANDOM = (
    'translate { rand_type: "uniform_bernoulli" exp: false mean: 0 spread: 0.4 prob: 1 } '
    'lmult_pow { rand_type: "uniform_bernoulli" exp: true mean: -0.2 spread: 0.4 prob: 1 } '
    "chromatic_eigvec: 0.51 chromatic_eigvec: 0.56 chromatic_eigvec: 0.65"
)
Size = tuple[int, int]


class Text:
    """A prototxt that grows; methods add layers and return the name of their top."""

    def __init__(self, width: int) -> None:
        self.width, self.lines = width, ['name: "FlowNet2"']

    def layer(self, kind: str, name: str, bottoms: Sequence[str], settings: str = "", tops: Sequence[str] = ()) -> str:
        ends = [f'bottom: "{bottom}"' for bottom in bottoms] + [f'top: "{top}"' for top in tops or [name]]
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {settings} }}')
        return (tops or [name])[0]

    def input(self, name: str, channels: int, size: Size) -> str:
        shape = f"shape {{ dim: 1 dim: {channels} dim: {size[0]} dim: {size[1]} }}"
        return self.layer("Input", name, [], f"input_param {{ {shape} }}")

    def conv(
        self, name: str, bottoms: Sequence[str], outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True
    ) -> str:
        """A convolution, of several bottoms with the same weights, with a leaky ReLU in place."""
        tops = [name] if len(bottoms) == 1 else [f"{name}{letter}" for letter in "ab"]
        settings = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {(kernel - 1) // 2} {FILLED}"
        self.layer("Convolution", name, bottoms, f"convolution_param {{ {settings} }}", tops)
        for top in tops if relu else ():
            self.layer("ReLU", f"{top}_relu", [top], SLOPE, [top])
        return tops[0]

    def wide(self, name: str, bottom: str, channels: int, kernel: int = 3, stride: int = 1) -> str:
        """A convolution of so many channels in the published net."""
        return self.conv(name, [bottom], channels * self.width // 64, kernel, stride)

    def deconv(self, name: str, bottom: str, outputs: int, relu: bool = True) -> str:
        settings = f"num_output: {outputs} kernel_size: 4 stride: 2 pad: 1 {FILLED}"
        self.layer("Deconvolution", name, [bottom], f"convolution_param {{ {settings} }}")
        if relu:
            self.layer("ReLU", f"{name}_relu", [name], SLOPE, [name])
        return name

    def sum(self, name: str, bottoms: Sequence[str], *coeffs: float) -> str:
        words = " ".join(f"coeff: {value:.12g}" for value in coeffs)
        return self.layer("Eltwise", name, bottoms, f"eltwise_param {{ operation: SUM {words} }}")

    def resample(self, name: str, bottom: str, size: Size, kind: str = "LINEAR") -> str:
        settings = f"width: {size[1]} height: {size[0]} type: {kind} antialias: true"
        return self.layer("Resample", name, [bottom], f"resample_param {{ {settings} }}")

    def pictures(self, target: Size, adapted: Size) -> tuple[str, str]:
        """Both pictures, 0 to 1, in the adapted size, less their mean."""
        for index in "01":
            self.input(f"img{index}", 3, target)
            scaled = self.sum(f"img{index}s", [f"img{index}"], 0.00392156862745)
            resized = self.resample(f"img{index}_resize", scaled, adapted)
            settings = (
                f"max_multiplier: 1 augment_during_test: false recompute_mean: 1000 mean_per_pixel: false {RANDOM} "
                f"crop_width: {adapted[1]} crop_height: {adapted[0]}"
            )
            made = [f"img{index}_aug"]
            self.layer(
                "DataAugmentation", f"img{index}s_aug", [resized],
                f"propagate_down: false augmentation_param {{ {settings} }}", made,
            )  # fmt: skip
        return "img0_aug", "img1_aug"

    def correlated(self, first: str, second: str) -> tuple[str, str, str]:
        """FlowNet-C's beginning: its maps at 1/4 and 1/8, and what goes into conv4."""
        share = self.width
        self.conv("conv1", [first, second], share, 7, 2)
        self.conv("conv2", ["conv1a", "conv1b"], 2 * share, 5, 2)
        self.conv("conv3", ["conv2a", "conv2b"], 4 * share, 5, 2)
        settings = "pad: 20 kernel_size: 1 max_displacement: 20 stride_1: 1 stride_2: 2"
        self.layer("Correlation", "corr", ["conv3a", "conv3b"], f"correlation_param {{ {settings} }}")
        self.layer("ReLU", "corr_relu", ["corr"], SLOPE, ["corr"])
        redirected = self.conv("conv_redir", ["conv3a"], share // 2, 1)
        joined = self.layer("Concat", "corr_redir", [redirected, "corr"])
        return "conv2a", self.wide("conv3_1", joined, 256), ""

    def encoded(self, prefix: str, bottom: str) -> tuple[str, str]:
        """FlowNet-S' beginning: its maps at 1/4 and 1/8."""
        self.wide(f"{prefix}conv1", bottom, 64, 7, 2)
        self.wide(f"{prefix}conv2", f"{prefix}conv1", 128, 5, 2)
        self.wide(f"{prefix}conv3", f"{prefix}conv2", 256, 5, 2)
        return f"{prefix}conv2", self.wide(f"{prefix}conv3_1", f"{prefix}conv3", 256)

    def refined(self, prefix: str, quarter: str, eighth: str, inter: bool = False) -> str:
        """The rest of a net from its maps at 1/4 and 1/8 on: the flow at 1/4."""
        skips, bottom = {2: quarter, 3: eighth}, eighth
        for level, channels in ((4, 512), (5, 512), (6, 1024)):
            self.wide(f"{prefix}conv{level}", bottom, channels, 3, 2)
            bottom = skips[level] = self.wide(f"{prefix}conv{level}_1", f"{prefix}conv{level}", channels)
        flow = self.conv(f"{prefix}Convolution1", [bottom], 2, relu=False)
        for number, (level, channels) in enumerate(((5, 512), (4, 256), (3, 128), (2, 64)), 2):
            up = self.deconv(f"{prefix}deconv{level}", bottom, channels * self.width // 64)
            flow_up = self.deconv(f"{prefix}upsample_flow{level + 1}to{level}", flow, 2, relu=False)
            bottom = self.layer("Concat", f"{prefix}concat{level}", [skips[level], up, flow_up])
            source = bottom
            if inter:
                source = self.wide(f"{prefix}interconv{level}", bottom, channels)
            flow = self.conv(f"{prefix}Convolution{number}", [source], 2, relu=False)
        return flow

    def finish(self, flow: str, target: Size, adapted: Size) -> str:
        """The flow in the target's size and pixels; what the scaling convolution fills itself with is no chance."""
        resized = self.resample("predict_flow_resize", flow, target)
        scale = " ".join(f"diag_val: {t / a:.8f}" for t, a in zip(target[::-1], adapted[::-1], strict=True))
        settings = (
            f'num_output: 2 kernel_size: 1 stride: 1 pad: 0 weight_filler {{ type: "diagonal" {scale} }} '
            'bias_filler { type: "constant" }'
        )
        self.layer(
            "Convolution", "scale_conv1", [resized], f"convolution_param {{ {settings} }}", ["predict_flow_final"]
        )
        return "\n".join(self.lines) + "\n"

    def improved(self, prefix: str, flow: str, first: str, second: str) -> str:
        """A further FlowNet-S over both pictures, the second one warped by the flow, and how well that fits."""
        warped = self.layer("FlowWarp", f"{prefix}warp", [second, flow], "flow_warp_param { fill_value: ZERO }")
        error = self.layer("ChannelNorm", f"{prefix}error", [self.sum(f"{prefix}diff", [first, warped], 1, -1)])
        small = self.sum(f"{prefix}flow_scaled", [flow], 0.05)
        bottom = self.layer("Concat", f"{prefix}input", [first, second, warped, small, error])
        return self.refined(prefix, *self.encoded(prefix, bottom))


def flownet_s(target: Size, adapted: Size, width: int = 4) -> str:
    """FlowNet2-S."""
    text = Text(width)
    both = text.layer("Concat", "input", text.pictures(target, adapted))
    flow = text.refined("", *text.encoded("", both))
    return text.finish(text.sum("flow_scaled", [flow], 20), target, adapted)


def flownet_c(target: Size, adapted: Size, width: int = 4) -> str:
    """FlowNet2-C."""
    text = Text(width)
    flow = text.refined("", *text.correlated(*text.pictures(target, adapted))[:2])
    return text.finish(text.sum("flow_scaled", [flow], 20), target, adapted)


def flownet2(target: Size, adapted: Size, width: int = 4) -> str:
    """FlowNet2: C, two S over warped pictures, SD for small motion, and their fusion."""
    text = Text(width)
    first, second = text.pictures(target, adapted)
    flow = text.refined("", *text.correlated(first, second)[:2])
    for prefix in ("net2_", "net3_"):
        large = text.resample(f"{prefix}flow_in", text.sum(f"{prefix}flow_20", [flow], 20), adapted)
        flow = text.improved(prefix, large, first, second)
    stacked = text.resample("fuse_flow", text.sum("fuse_flow_20", [flow], 20), adapted, "NEAREST")
    small = text.resample(
        "fuse_flow_sd", text.sum("netsd_flow_20", [_small_motion(text, first, second)], 0.05), adapted, "NEAREST"
    )
    parts = [first, stacked, small]
    for name, of in (("", stacked), ("_sd", small)):
        parts.append(text.layer("ChannelNorm", f"fuse_norm{name}", [of]))
        warped = text.layer("FlowWarp", f"fuse_warp{name}", [second, of])
        parts.append(
            text.layer("ChannelNorm", f"fuse_error{name}", [text.sum(f"fuse_diff{name}", [first, warped], 1, -1)])
        )
    return text.finish(_fused(text, text.layer("Concat", "fuse_input", parts)), target, adapted)


def _small_motion(text: Text, first: str, second: str) -> str:
    prefix = "netsd_"
    both = text.layer("Concat", f"{prefix}input", [first, second])
    text.wide(f"{prefix}conv0", both, 64)
    text.wide(f"{prefix}conv1", f"{prefix}conv0", 64, 3, 2)
    text.wide(f"{prefix}conv1_1", f"{prefix}conv1", 128)
    text.wide(f"{prefix}conv2", f"{prefix}conv1_1", 128, 3, 2)
    text.wide(f"{prefix}conv2_1", f"{prefix}conv2", 128)
    text.wide(f"{prefix}conv3", f"{prefix}conv2_1", 256, 3, 2)
    return text.refined(prefix, f"{prefix}conv2_1", text.wide(f"{prefix}conv3_1", f"{prefix}conv3", 256), inter=True)


def _fused(text: Text, bottom: str) -> str:
    whole = text.wide("fuse_conv0", bottom, 64)
    text.wide("fuse_conv1", whole, 64, 3, 2)
    half = text.wide("fuse_conv1_1", "fuse_conv1", 128)
    text.wide("fuse_conv2", half, 128, 3, 2)
    top = text.wide("fuse_conv2_1", "fuse_conv2", 128)
    flow = text.conv("fuse__Convolution5", [top], 2, relu=False)
    for level, (skip, channels) in enumerate(((half, 32), (whole, 16))):
        up = text.deconv(f"fuse_deconv{1 - level}", top, max(1, channels * text.width // 64))
        flow_up = text.deconv(f"fuse_upsample_flow{2 - level}to{1 - level}", flow, 2, relu=False)
        top = text.layer("Concat", f"fuse_concat{1 - level}", [skip, up, flow_up])
        inter = text.wide(f"fuse_interconv{1 - level}", top, 64)
        flow = text.conv(f"fuse__Convolution{6 + level}", [inter], 2, relu=False)
    return flow
