"""Inference of batches of 1 and 10: our engines against torch.compile, plain onnxruntime and OpenCV's dnn.

    python tools/bench/bench_inference.py [--runs 15] [--threads 2] [--only lenet,espnet] [--batches 1,10]
        [--opencv-python /path/of/another/environment/bin/python] [--without torch.compile] [--clock processor]
    python tools/bench/bench_inference.py --write-table

Each row interleaves the variants in one run over the same input and prints medians: "torch" and "onnxruntime" are
``--engine`` of the inference verbs, "auto" the one of the two that ``--engine auto`` takes. The others are
torch.compile of the network written by hand in both memory formats, onnxruntime with what ``export onnx`` writes, and
OpenCV, in the Python that --opencv-python names. The goal is a ratio of at most 1.05 of auto to the best of the others.

With --write-table both engines are measured with these and more networks, and the table that "auto" goes by is written.
Run it alone: anything else on the machine disturbs the threads. Where that cannot be had, ``--threads 1 --clock
processor`` measures the processor's time, which suffers less.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import by_hand
import deploy_nets
import numpy as np
import onnxruntime
import torch
from torch import nn

from caffecompat.deploy.inference.choice import TABLE, Measured, faster_engine, work_of
from caffecompat.deploy.inference.inference_net import InferenceNet
from caffecompat.deploy.onnx.export import export_net
from caffecompat.deploy.onnx.file import write_model
from caffecompat.deploy.onnx.run import open_session
from caffecompat.net import Net
from caffecompat.schema import parse_text, pb, write_text
from caffecompat.zoo import NETWORKS, network_files

ENGINES = ("torch", "onnxruntime")
SMALL = 0.02  # seconds of a pass, below which it is repeated more often
LARGE = 300_000  # values of a picture, of which the table has no batches
Timed = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """A network: its deploy.prototxt, its network by hand, and (channels, height, width) of its pictures."""

    text: Callable[[], str]
    size: tuple[int, int, int]
    by_hand: Callable[[], nn.Module] | None = None


def of_zoo(name: str) -> Callable[[], str]:
    """The zoo's deploy.prototxt."""
    return lambda: network_files(NETWORKS[name])["deploy.prototxt"]


ROWS = {
    "lenet": Row(of_zoo("lenet"), (1, 28, 28), by_hand.LeNet),
    "cifar10_full": Row(of_zoo("cifar10_full"), (3, 32, 32), by_hand.Cifar10Full),
    "alexnet": Row(deploy_nets.alexnet, (3, 227, 227), by_hand.AlexNet),
    "googlenet": Row(of_zoo("googlenet"), (3, 224, 224), by_hand.GoogLeNet),
    "squeezenet": Row(of_zoo("squeezenet"), (3, 227, 227), by_hand.SqueezeNet),
    "vgg16": Row(deploy_nets.vgg16, (3, 224, 224), by_hand.VGG16),
    "espnet": Row(of_zoo("espnet"), (3, 512, 1024), by_hand.ESPNet),
    "enet": Row(of_zoo("enet"), (3, 512, 1024), by_hand.ENet),
}
OF_TABLE = ROWS | {
    "resnet18": Row(of_zoo("resnet18"), (3, 224, 224)),
    "resnet50": Row(of_zoo("resnet50"), (3, 224, 224)),
    "mobilenet_v1": Row(of_zoo("mobilenet_v1"), (3, 224, 224)),
    "mobilenet_v2": Row(of_zoo("mobilenet_v2"), (3, 224, 224)),
    "jacintonet11": Row(of_zoo("jacintonet11"), (3, 224, 224)),
    "jsegnet21": Row(of_zoo("jsegnet21"), (3, 320, 768)),
    "unet_lite": Row(of_zoo("unet_lite"), (3, 256, 512)),
    "fpn": Row(of_zoo("fpn"), (3, 256, 512)),
    "vgg16_ssd300": Row(of_zoo("vgg16_ssd300"), (3, 300, 300)),
}


def made_net(row: Row, batch: int) -> tuple[str, Net]:
    """The deploy.prototxt for that batch, and its net with initial weights whose scores are of the size of 1."""
    message = parse_text(row.text(), pb.NetParameter())
    message.layer[0].input_param.shape[0].dim[:] = [batch, *row.size]
    torch.manual_seed(0)
    net = Net(message, pb.TEST, log=False)
    for layer in net.layers:
        for slot in layer.slots:
            if slot.name in ("variance", "factor"):  # zeros, before any training
                slot.tensor().fill_(1)
    largest = [1.0]
    hooks = [layer.module.register_forward_pre_hook(lambda _, bottoms: largest.append(float(bottoms[0].abs().max())))
             for layer in net.layers if layer.module is not None and layer.type == "Softmax"]  # fmt: skip
    with torch.no_grad():
        net(torch.randn(batch, *row.size))
    for hook in hooks:
        hook.remove()
    last = [layer for layer in net.layers if layer.module is not None and layer.module.weighted][-1]
    for slot in last.slots:
        slot.tensor().mul_(1 / max(largest))  # of random weights they may be a million, and probabilities chance
    return write_text(message), net


def timed(call: Callable[[], object], clock: Callable[[], float]) -> Timed:
    """The call, which returns its seconds."""

    def run() -> float:
        begun = clock()
        call()
        return clock() - begun

    return run


def engines(net: Net, batch: np.ndarray, clock: Callable[[], float]) -> dict[str, Timed]:
    """The net on both engines; on torch alone where onnxruntime refuses it."""
    calls = {}
    for engine in ENGINES:
        inference = InferenceNet(net, engine)
        inference(batch)
        if inference.used == engine:
            calls[engine] = timed(lambda inference=inference: inference(batch), clock)  # type: ignore[misc]
    return calls


def compiled(row: Row, batch: np.ndarray, clock: Callable[[], float]) -> dict[str, Timed]:
    """torch.compile of the network by hand, with the softmax that the prototxt has, in both memory formats."""
    calls: dict[str, Timed] = {}
    assert row.by_hand is not None
    for name, layout in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        torch.manual_seed(0)
        model = nn.Sequential(row.by_hand(), nn.Softmax(1)).eval()
        model = model.to(memory_format=layout)  # type: ignore[call-overload]
        run = torch.compile(model, dynamic=False)
        tensor = torch.from_numpy(batch).contiguous(memory_format=layout)

        @torch.inference_mode()
        def call(run: Callable[[torch.Tensor], object] = run, tensor: torch.Tensor = tensor) -> object:
            return run(tensor)

        call()
        calls[f"compile {name}"] = timed(call, clock)
    return calls


@contextmanager
def opencv(python: str, text: str, net: Net, model: bytes, threads: int, clock: str) -> Iterator[dict[str, Timed]]:
    """The net in OpenCV, which another process computes; nothing where that cannot be, after a line that says so."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("deploy.prototxt", "net.caffemodel", "net.onnx")]
        files[0].write_text(text)
        net.save(files[1])
        files[2].write_bytes(model)
        shape = ",".join(map(str, net.fed_shapes["data"]))
        script = Path(__file__).with_name("opencv_dnn.py")
        process = subprocess.Popen(
            [python, script, *files, shape, str(threads), clock],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        head = process.stdout.readline().split()
        if not head:
            print(f"OpenCV cannot compute {net.name}: {(process.communicate()[1].split() or ['?'])[-1][:200]}")
            yield {}
            return

        def call() -> float:
            print(file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        try:
            yield {f"OpenCV {head[0]} ({head[1]})": call}
        finally:
            process.communicate()


def medians(calls: dict[str, Timed], runs: int) -> dict[str, float]:
    """Milliseconds of interleaved calls, in another order each time: who follows its like finds its code in the caches.

    The first calls do not count.
    """
    order, shuffled = list(calls), random.Random(0)
    first = max([call() for call in calls.values()] + [call() for call in calls.values()])
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs if first > SMALL else 20 * runs):
        shuffled.shuffle(order)
        for name in order:
            times[name].append(calls[name]())
    return {name: statistics.median(values) * 1000 for name, values in times.items()}


def compare(name: str, batch: int, args: argparse.Namespace, clock: Callable[[], float]) -> float:
    """Print a row; returns the ratio of auto to the best of the others."""
    row = ROWS[name]
    text, net = made_net(row, batch)
    fed = np.random.default_rng(0).standard_normal((batch, *row.size), np.float32)
    auto = faster_engine(net)
    calls = engines(net, fed, clock)
    file = io.BytesIO()
    export = export_net(net)
    write_model(file, export.model, export.weights)
    session, source = open_session(file.getvalue()), export.inputs["data"]
    others: dict[str, Timed] = {"plain onnxruntime": timed(lambda: session.run(None, {source: fed}), clock)}
    if row.by_hand is not None and "torch.compile" not in args.without:
        others |= compiled(row, fed, clock)
    if args.opencv_python is None:
        found = medians(calls | others, args.runs)
    else:
        with opencv(args.opencv_python, text, net, file.getvalue(), args.threads, args.clock) as more:
            others |= more
            found = medians(calls | others, args.runs)
    best = min(others, key=found.__getitem__)
    ours = found.get(auto, found["torch"])
    texts = "  ".join(f"{variant} {value:.2f}" for variant, value in found.items())
    print(f"{name:<13}{batch:3}  {texts} ms  auto={auto}: {ours / found[best]:.3f} of {best}", flush=True)
    return ours / found[best]


def write_table(names: list[str], batches: list[int], args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Measure both engines and write what ``--engine auto`` goes by."""
    rows = []
    for name in names:
        for batch in batches:
            if batch > 1 and np.prod(OF_TABLE[name].size) > LARGE:
                continue  # as one picture, but slower
            _, net = made_net(OF_TABLE[name], batch)
            fed = np.random.default_rng(0).standard_normal((batch, *OF_TABLE[name].size), np.float32)
            found = {engine: round(value, 3) for engine, value in medians(engines(net, fed, clock), args.runs).items()}
            work = work_of(net)
            shares = {kind: round(share, 4) for kind, share in sorted(work.shares.items())}
            rows.append(Measured(name, batch, float(round(work.macs)), shares, found))
            print(f"{name:<13}{batch:3}  {found}", flush=True)
    head = {
        "measured": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {args.threads} threads, "
        f"{args.clock} time, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    }
    lines = ",\n".join(json.dumps(row.as_json()) for row in rows)
    TABLE.write_text(f'{{"measured": {json.dumps(head["measured"])}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs (of small nets twenty times as many)")
    parser.add_argument("--threads", type=int, default=2, help="of torch, onnxruntime and OpenCV")
    parser.add_argument("--only", default="", metavar="A,B", help=f"these networks, of {', '.join(OF_TABLE)}")
    parser.add_argument("--batches", default="1,10", metavar="A,B", help="batch sizes")
    parser.add_argument("--opencv-python", metavar="FILE", help="a Python that has OpenCV's dnn to measure")
    parser.add_argument("--without", default=[], nargs="+", choices=["torch.compile"], help="leave out")
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"], help="what time is measured")
    parser.add_argument("--write-table", action="store_true", help="measure both engines, write the table of auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "processor" else time.perf_counter
    batches = [int(batch) for batch in args.batches.split(",")]
    names = [name for name in args.only.split(",") if name]
    unknown = set(names) - OF_TABLE.keys()
    if unknown:
        sys.exit(f"no networks {', '.join(sorted(unknown))}; there are {', '.join(OF_TABLE)}")
    print(
        f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {args.threads} threads, {args.clock} time"
    )
    if args.opencv_python is None and not args.write_table:
        print("without OpenCV: --opencv-python names a Python of an environment that has it")
    if args.write_table:
        write_table(names or list(OF_TABLE), batches, args, clock)
        return
    ratios = [compare(name, batch, args, clock) for name in names or ROWS for batch in batches]
    print(f"auto over the best of the others: mean {statistics.fmean(ratios):.3f}, most {max(ratios):.3f}")


if __name__ == "__main__":
    main()
