"""Training steps of ours against the same network written by hand in torch, in its faster memory format.

    python tools/bench/bench_step.py [--runs 15] [--only lenet,espnet] [--compile]
    python tools/bench/bench_step.py --gpu [--images 8] [--passes 20]

Each row interleaves the variants in one run and prints medians: ours, ours under ``train --compile`` on request, and
the hand-written network in both memory formats with torch's own optimizer. The goal is a mean of 1.00 and no row above
1.03. Run it alone: anything else on the machine disturbs torch's threads.

With --gpu: images a second of ESPNet's recipe (crops of 512, iterations of 20 x 8 images) on the first GPU, in float32,
TF32 and bf16, with and without torch.compile, against the hand-written network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import by_hand
import torch
from torch import Tensor, nn
from train_nets import hand_written_loss, train_net

from caffecompat.net import Net
from caffecompat.net.device import allow_tf32
from caffecompat.schema import pb
from caffecompat.solver.updater import Updater

Call = Callable[[], object]
FORMATS = (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last))


@dataclass(frozen=True)
class Row:
    """A network: what makes it by hand, its batch, the size of its pictures, classes, and how often a run repeats."""

    name: str
    make: Callable[[], nn.Module]
    batch: tuple[int, int, int, int]
    classes: int = 1000
    optimizer: str = "SGD"
    repeats: int = 1

    @property
    def labels(self) -> tuple[int, ...]:
        """Shape of the labels: of pictures, or of their pixels."""
        return (self.batch[0], *self.batch[2:]) if self.classes == 19 else (self.batch[0],)


ROWS = {
    "lenet": Row("LeNet 64", by_hand.LeNet, (64, 1, 28, 28), 10, repeats=20),
    "cifar10_full": Row("CIFAR-10 full 100", by_hand.Cifar10Full, (100, 3, 32, 32), 10, repeats=4),
    "alexnet": Row("AlexNet 10", by_hand.AlexNet, (10, 3, 227, 227)),
    "googlenet": Row("GoogLeNet 10", by_hand.GoogLeNet, (10, 3, 224, 224)),
    "squeezenet": Row("SqueezeNet 10", by_hand.SqueezeNet, (10, 3, 227, 227)),
    "espnet": Row("ESPNet 1024x512", by_hand.ESPNet, (1, 3, 512, 1024), 19, "Adam"),
    "enet": Row("ENet 1024x512", by_hand.ENet, (1, 3, 512, 1024), 19, "Adam"),
}


def our_step(net: Net, solver: pb.SolverParameter, inputs: dict[str, Tensor]) -> Call:
    """One training iteration of ours: forward, backward, update."""
    updater = Updater(solver, net.params)

    def step() -> None:
        for param in net.params:
            param.blob.grad = None
        net.loss(net.forward(inputs)).backward()
        updater.apply(0.001, 10, 1)

    return step


def hand_step(row: Row, layout: torch.memory_format, data: Tensor, label: Tensor) -> Call:
    """One training iteration of the hand-written network."""
    model = row.make().to(memory_format=layout)  # type: ignore[call-overload]
    batch = data.contiguous(memory_format=layout)
    optimizer: torch.optim.Optimizer
    if row.optimizer == "Adam":
        optimizer = torch.optim.Adam(model.parameters(), 0.001, weight_decay=0.0005)
    else:
        optimizer = torch.optim.SGD(model.parameters(), 0.001, 0.9, weight_decay=0.0005)

    def step() -> None:
        optimizer.zero_grad()
        hand_written_loss(model(batch), label).backward()
        optimizer.step()

    return step


def compare(title: str, variants: dict[str, Call], runs: int) -> float:
    """Print medians of interleaved calls; ours over the faster hand-written one."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for run in range(runs + 2):
        for name, call in variants.items():
            begun = time.perf_counter()
            call()
            if run >= 2:
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    best = min(medians[name] for name, _ in FORMATS)
    cells = [f"{name} {value:8.2f} ms" for name, value in medians.items()]
    ratios = [f"{name}/best {value / best:.3f}" for name, value in medians.items() if name.startswith("ours")]
    print(f"{title:<20}" + "  ".join(cells + ratios), flush=True)
    return medians["ours"] / best


def bench(key: str, runs: int, compiled: bool) -> float:
    """A row of the table."""
    row = ROWS[key]
    data, label = torch.randn(row.batch), torch.randint(0, row.classes, row.labels)
    solver = pb.SolverParameter(type=row.optimizer, momentum=0.9, weight_decay=0.0005)
    shape = (row.batch[0], 1, *row.batch[2:]) if row.classes == 19 else (row.batch[0],)
    inputs = {"data": data, "label": label.reshape(shape).float()}
    variants: dict[str, Call] = {"ours": our_step(train_net(key, row.batch, shape), solver, inputs)}
    if compiled:
        net = train_net(key, row.batch, shape)
        net.compile_code()
        variants["ours compiled"] = our_step(net, solver, inputs)
    for name, layout in FORMATS:
        variants[name] = hand_step(row, layout, data, label)
    return compare(row.name, variants, runs * row.repeats)


def gpu_rates(images: int, passes: int, runs: int) -> None:
    """Images a second of ESPNet's recipe on the first GPU, ours and by hand, a row for each way to compute."""
    shape, label_shape = (images, 3, 512, 512), (images, 1, 512, 512)
    inputs = {"data": torch.randn(shape), "label": torch.randint(0, 19, label_shape).float()}
    solver = pb.SolverParameter(type="Adam", momentum=0.9, weight_decay=0.0005)
    print(f"{torch.cuda.get_device_name()}, iterations of {passes} x {images} images")
    for way in ("float32", "TF32", "bf16"):
        allow_tf32(way == "TF32")
        variants: dict[str, Call] = {}
        for compiled in (False, True):
            net = train_net("espnet", shape, label_shape, amp="bf16" if way == "bf16" else None).to("cuda")
            model = by_hand.ESPNet().to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
            if compiled:
                net.compile_code()
                model = torch.compile(model)
            name = " compiled" if compiled else ""
            variants[f"ours{name}"] = _gpu_step(net, solver, inputs, passes)
            variants[f"by hand{name}"] = _gpu_step_by_hand(model, inputs, passes, half=way == "bf16")
        times: dict[str, list[float]] = {name: [] for name in variants}
        for run in range(runs + 2):
            for name, call in variants.items():
                torch.cuda.synchronize()
                begun = time.perf_counter()
                call()
                torch.cuda.synchronize()
                if run >= 2:
                    times[name].append(time.perf_counter() - begun)
        rates = {name: images * passes / statistics.median(values) for name, values in times.items()}
        print(f"{way:<10}" + "  ".join(f"{name} {rate:8.1f} images/s" for name, rate in rates.items()), flush=True)


def _gpu_step(net: Net, solver: pb.SolverParameter, inputs: dict[str, Tensor], passes: int) -> Call:
    updater = Updater(solver, net.params)

    def step() -> None:
        for param in net.params:
            param.blob.grad = None
        for _ in range(passes):
            net.loss(net(inputs)).backward()
        updater.apply(0.001, 10, passes)

    return step


def _gpu_step_by_hand(model: nn.Module, inputs: dict[str, Tensor], passes: int, half: bool) -> Call:
    adam = torch.optim.Adam(model.parameters(), 0.001, weight_decay=0.0005)
    data, label = inputs["data"].pin_memory(), inputs["label"][:, 0].long().pin_memory()

    def step() -> None:
        adam.zero_grad()
        for _ in range(passes):
            batch = data.to("cuda", non_blocking=True).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cuda", torch.bfloat16, enabled=half):
                loss = hand_written_loss(model(batch), label.to("cuda", non_blocking=True))
            (loss / passes).backward()
        adam.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs (small nets take several times as many)")
    parser.add_argument("--only", default=",".join(ROWS), help="networks to run, separated by commas")
    parser.add_argument("--compile", action="store_true", help="also ours under torch.compile")
    parser.add_argument("--gpu", action="store_true", help="ESPNet's recipe on the first GPU instead")
    parser.add_argument("--images", type=int, default=8, help="with --gpu: of a pass (default 8)")
    parser.add_argument("--passes", type=int, default=20, help="with --gpu: of an iteration (default 20)")
    args = parser.parse_args()
    if args.gpu:
        if not torch.cuda.is_available():
            sys.exit("bench_step --gpu: torch finds no GPU here")
        gpu_rates(args.images, args.passes, args.runs)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    ratios = [bench(key, args.runs, args.compile) for key in args.only.split(",")]
    print(f"mean {statistics.mean(ratios):.3f}, greatest {max(ratios):.3f}")


if __name__ == "__main__":
    main()
