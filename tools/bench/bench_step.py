"""Training step and inference of LeNet and ESPNet: our graph against the same network written by hand in torch.

    python tools/bench/bench_step.py [--runs 15]

Each row interleaves the variants in one run and prints medians. The hand-written
network runs in both memory formats; the overhead is held against its faster one.
Run it alone: anything else on the machine disturbs torch's threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from by_hand import ESPNet, LeNet
from torch import Tensor, nn

from caffecompat.net import Net
from caffecompat.schema import parse_text, pb
from caffecompat.solver.updater import Updater
from caffecompat.zoo import NETWORKS, network_files

Call = Callable[[], object]


def without_data(text: str, inputs: dict[str, tuple[int, ...]]) -> Net:
    """The TRAIN net of a train_val.prototxt with Input layers in place of its data layers."""
    message = parse_text(text, pb.NetParameter())
    # The hand-written networks compute no accuracy either.
    layers = [layer for layer in message.layer if "Data" not in layer.type and layer.type != "Accuracy"]
    fed = pb.NetParameter(name=message.name)
    for name, shape in inputs.items():
        layer = fed.layer.add(name=name, type="Input", top=[name])
        layer.input_param.shape.add().dim.extend(shape)
    fed.layer.extend(layers)
    return Net(fed, pb.TRAIN, log=False)


def our_step(net: Net, solver: pb.SolverParameter, inputs: dict[str, Tensor]) -> Call:
    """One training iteration of ours: forward, backward, update."""
    updater = Updater(solver, net.params)

    def step() -> None:
        for param in net.params:
            param.blob.grad = None
        net.loss(net.forward(inputs)).backward()
        updater.apply(0.001, 10, 1)

    return step


def hand_step(model: nn.Module, optimizer: torch.optim.Optimizer, data: Tensor, label: Tensor) -> Call:
    """One training iteration of the hand-written network."""

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(data), label, ignore_index=255).backward()
        optimizer.step()

    return step


def without_gradient(call: Call) -> Call:
    """The call under no_grad."""

    def run() -> None:
        with torch.no_grad():
            call()

    return run


def compare(title: str, variants: dict[str, Call], runs: int) -> None:
    """Print medians of interleaved calls and ours over the faster hand-written one."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for run in range(runs + 2):
        for name, call in variants.items():
            begun = time.perf_counter()
            call()
            if run >= 2:
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    best = min(value for name, value in medians.items() if name != "ours")
    row = "  ".join(f"{name} {value:8.2f} ms" for name, value in medians.items())
    print(f"{title:<28}{row}  ours/best {medians['ours'] / best:.3f}", flush=True)


def lenet(runs: int) -> None:
    """LeNet, batch 64."""
    data, label = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
    inputs = {"data": data, "label": label.float()}
    files = network_files(NETWORKS["lenet"])
    solver = pb.SolverParameter(type="SGD", momentum=0.9, weight_decay=0.0005)
    train = without_data(files["train_val.prototxt"], {"data": (64, 1, 28, 28), "label": (64,)})
    deploy = Net(parse_text(files["deploy.prototxt"], pb.NetParameter()), pb.TEST, log=False)
    steps: dict[str, Call] = {"ours": our_step(train, solver, inputs)}
    passes: dict[str, Call] = {"ours": without_gradient(lambda: deploy.forward({"data": data}))}
    for name, layout in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        model = LeNet().to(memory_format=layout)  # type: ignore[call-overload]
        sgd = torch.optim.SGD(model.parameters(), 0.001, 0.9, weight_decay=0.0005)
        batch = data.contiguous(memory_format=layout)
        steps[name] = hand_step(model, sgd, batch, label)
        passes[name] = without_gradient(lambda model=model, batch=batch: model(batch).softmax(1))  # type: ignore[misc]
    compare("LeNet 64 training step", steps, runs * 20)
    compare("LeNet 64 forward", passes, runs * 20)


def espnet(runs: int) -> None:
    """ESPNet, one image of 1024 x 512."""
    data, label = torch.randn(1, 3, 512, 1024), torch.randint(0, 19, (1, 512, 1024))
    files = network_files(NETWORKS["espnet"])
    train = without_data(files["train_val.prototxt"], {"data": (1, 3, 512, 1024), "label": (1, 1, 512, 1024)})
    deploy = Net(parse_text(files["deploy.prototxt"], pb.NetParameter()), pb.TEST, log=False)
    solver = pb.SolverParameter(type="Adam", momentum=0.9, weight_decay=0.0005)
    inputs = {"data": data, "label": label[:, None].float()}
    steps: dict[str, Call] = {"ours": our_step(train, solver, inputs)}
    passes: dict[str, Call] = {"ours": without_gradient(lambda: deploy.forward({"data": data}))}
    for name, layout in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        model = ESPNet().to(memory_format=layout)  # type: ignore[call-overload]
        adam = torch.optim.Adam(model.parameters(), 0.001, weight_decay=0.0005)
        batch = data.contiguous(memory_format=layout)
        steps[name] = hand_step(model, adam, batch, label)
        still = ESPNet().to(memory_format=layout).eval()  # type: ignore[call-overload]
        passes[name] = without_gradient(lambda still=still, batch=batch: still(batch).softmax(1))  # type: ignore[misc]
    compare("ESPNet 1024x512 training step", steps, runs)
    compare("ESPNet 1024x512 forward", passes, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs (LeNet takes twenty times as many)")
    runs = parser.parse_args().runs
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    lenet(runs)
    espnet(runs)


if __name__ == "__main__":
    main()
