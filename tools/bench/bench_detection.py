"""What SSD300's loss costs of its training step, and what its DetectionOutput costs of a forward pass.

    python tools/bench/bench_detection.py [--device cuda] [--width 0.25] [--batch 8] [--runs 5]

VGG16-SSD300: 8732 priors, 21 classes, a batch of 8. One run interleaves whole steps (forward, backward, update) with
the loss alone (forward and backward on the same bottoms), and prints medians and their ratio. `--width` scales the
channels of VGG16 for slow machines: the loss stays the same while the step shrinks, so the ratio is the harder one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.solver.updater import Updater

CLASSES = 21
# source blob, min_size, max_size, aspect ratios, step
HEADS = (
    ("conv4_3_norm", 30, 60, (2,), 8),
    ("fc7", 60, 111, (2, 3), 16),
    ("conv6_2", 111, 162, (2, 3), 32),
    ("conv7_2", 162, 213, (2, 3), 64),
    ("conv8_2", 213, 264, (2,), 100),
    ("conv9_2", 264, 315, (2,), 300),
)


class Text:
    """Writes the layers of a prototxt."""

    def __init__(self, width: float) -> None:
        self.width, self.lines = width, ['name: "VGG_SSD_300"']

    def add(self, kind: str, name: str, bottoms: list[str], text: str = "", top: str | None = None) -> str:
        reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {reads} top: "{top or name}" {text} }}')
        return top or name

    def conv(self, name: str, bottom: str, channels: int, text: str, *, scaled: bool = True, relu: bool = True) -> str:
        count = max(8, int(channels * self.width)) if scaled else channels
        filler = 'weight_filler { type: "xavier" }'
        self.add("Convolution", name, [bottom], f"convolution_param {{ num_output: {count} {text} {filler} }}")
        return self.add("ReLU", f"{name}_relu", [name], top=name) if relu else name

    def pool(self, name: str, bottom: str, text: str) -> str:
        return self.add("Pooling", name, [bottom], f"pooling_param {{ pool: MAX {text} }}")


def ssd300(width: float, batch: int) -> str:
    """VGG16-SSD300 with Input layers for data, MultiBoxLoss and DetectionOutput."""
    text = Text(width)
    for name, dims in (("data", (batch, 3, 300, 300)), ("label", (1, 1, batch * 4, 8))):
        shape = " ".join(f"dim: {size}" for size in dims)
        text.lines.append(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}'
        )
    blob = "data"
    for block, (channels, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for layer in range(1, depth + 1):
            blob = text.conv(f"conv{block}_{layer}", blob, channels, "kernel_size: 3 pad: 1")
        blob = text.pool(f"pool{block}", blob, "kernel_size: 2 stride: 2" if block < 5 else "kernel_size: 3 pad: 1")
    blob = text.conv("fc6", blob, 1024, "kernel_size: 3 pad: 6 dilation: 6")
    blob = text.conv("fc7", blob, 1024, "kernel_size: 1")
    for number, (channels, second) in enumerate(
        ((512, "stride: 2 pad: 1"), (256, "stride: 2 pad: 1"), (256, ""), (256, "")), 6
    ):
        blob = text.conv(f"conv{number}_1", blob, channels // 2, "kernel_size: 1")
        blob = text.conv(f"conv{number}_2", blob, channels, f"kernel_size: 3 {second}")
    norm = 'across_spatial: false channel_shared: false scale_filler { type: "constant" value: 20 }'
    text.add("Normalize", "conv4_3_norm", ["conv4_3"], f"norm_param {{ {norm} }}")
    _heads(text)
    return "\n".join(text.lines)


def _heads(text: Text) -> None:
    parts: dict[str, list[str]] = {"loc": [], "conf": [], "prior": []}
    for source, small, large, ratios, step in HEADS:
        boxes = 2 + 2 * len(ratios)
        for kind, each in (("loc", 4), ("conf", CLASSES)):
            name = f"{source}_mbox_{kind}"
            text.conv(name, source, boxes * each, "kernel_size: 3 pad: 1", scaled=False, relu=False)
            text.add("Permute", f"{name}_perm", [name], "permute_param { order: [0, 2, 3, 1] }")
            parts[kind].append(text.add("Flatten", f"{name}_flat", [f"{name}_perm"]))
        text.add(
            "PriorBox",
            f"{source}_prior",
            [source, "data"],
            f"prior_box_param {{ min_size: {small} max_size: {large} aspect_ratio: {list(ratios)} step: {step} "
            "variance: [0.1, 0.1, 0.2, 0.2] }",
        )
        parts["prior"].append(f"{source}_prior")
    for kind, blobs in parts.items():
        text.add("Concat", f"mbox_{kind}", blobs, f"concat_param {{ axis: {2 if kind == 'prior' else 1} }}")
    text.add(
        "MultiBoxLoss",
        "mbox_loss",
        ["mbox_loc", "mbox_conf", "mbox_prior", "label"],
        f"multibox_loss_param {{ num_classes: {CLASSES} code_type: CENTER_SIZE }}",
    )


def output_layer(batch: int, priors: int) -> Net:
    """DetectionOutput as SSD300's deploy prototxt has it."""
    text = Text(1)
    for name, dims in (
        ("loc", (batch, priors * 4)),
        ("conf", (batch, priors * CLASSES)),
        ("prior", (1, 2, priors * 4)),
    ):
        shape = " ".join(f"dim: {size}" for size in dims)
        text.lines.append(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}'
        )
    text.add(
        "DetectionOutput",
        "found",
        ["loc", "conf", "prior"],
        f"detection_output_param {{ num_classes: {CLASSES} code_type: CENTER_SIZE keep_top_k: 200 "
        "confidence_threshold: 0.01 nms_param { nms_threshold: 0.45 top_k: 400 } }",
    )
    return Net(parse_text("\n".join(text.lines), pb.NetParameter()), pb.TEST, log=False)


def some_objects(batch: int, each: int, generator: np.random.Generator) -> np.ndarray:
    """A label blob with 1 to 2 `each` - 1 objects an image."""
    rows = []
    for image in range(batch):
        for _ in range(int(generator.integers(1, 2 * each))):
            low, size = generator.uniform(0, 0.7, 2), generator.uniform(0.05, 0.3, 2)
            rows.append([image, generator.integers(1, CLASSES), 0, *low, *(low + size), 0])
    return np.array(rows, np.float32)[None, None]


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--objects", type=int, default=4, help="mean objects an image")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    net = Net(parse_text(ssd300(args.width, args.batch), pb.NetParameter()), pb.TRAIN, log=False).to(device)
    solver = parse_text('base_lr: 0.001 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed"', pb.SolverParameter())
    updater = Updater(solver, net.params)
    generator = np.random.default_rng(0)
    data = torch.randn(args.batch, 3, 300, 300, device=device)
    label = torch.from_numpy(some_objects(args.batch, args.objects, generator)).to(device)

    def step() -> None:
        for param in net.params:
            param.blob.grad = None
        net.loss(net.forward({"data": data, "label": label})).backward()
        updater.apply(0.0001, 10, 1)

    loss_layer = next(layer.module for layer in net.layers if layer.type == "MultiBoxLoss")
    assert loss_layer is not None
    seen: list[tuple[Tensor, ...]] = []
    hook = loss_layer.register_forward_pre_hook(lambda module, bottoms: seen.append(bottoms))
    step()
    hook.remove()
    location, scores, priors, _ = (bottom.detach() for bottom in seen[0])

    def loss() -> None:
        loss_layer(location.requires_grad_(), scores.requires_grad_(), priors, label).backward()

    output = output_layer(args.batch, priors.shape[2] // 4).to(device)
    by_class = scores.detach().view(args.batch, -1, CLASSES)
    bottoms = {"loc": location.detach(), "prior": priors}
    # A trained net is sure of the background nearly everywhere; an untrained one lets every box of every class pass.
    sure = torch.zeros(CLASSES, device=device)
    sure[0] = 9
    noise = torch.randn(by_class.shape, device=device)
    probable = {"trained": (noise + sure).softmax(2).flatten(1), "untrained": by_class.softmax(2).flatten(1)}

    def forward() -> None:
        with torch.no_grad():
            net.forward({"data": data, "label": label})

    def detect(kind: str) -> None:
        with torch.no_grad():
            output.forward({**bottoms, "conf": probable[kind]})

    calls: dict[str, Callable[[], object]] = {"step": step, "loss": loss, "forward": forward}
    calls.update({kind: partial(detect, kind) for kind in probable})
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.runs):
        for name, call in calls.items():
            times[name].append(timed(call, device))
    median = {name: statistics.median(values) * 1000 for name, values in times.items()}
    size = (
        f"{priors.shape[2] // 4} priors, {label.shape[2]} objects, batch {args.batch}, width {args.width:g}, {device}"
    )
    print(f"SSD300, {size}: medians of {args.runs}")
    print(
        f"step {median['step']:.1f} ms, loss {median['loss']:.2f} ms: {median['loss'] / median['step']:.1%} of the step"
    )
    for kind in probable:
        share = median[kind] / median["forward"]
        print(f"forward {median['forward']:.1f} ms, DetectionOutput {kind} {median[kind]:.2f} ms: {share:.1%} of it")


if __name__ == "__main__":
    main()
