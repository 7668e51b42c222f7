"""Two processes of one thread that train one net, against one process of one thread with the same work for each.

    python tools/bench/bench_ranks.py [--runs 9] [--net alexnet] [--steps 2]

Both are alive all the time and take turns; while one works the other waits. Each row gives medians: seconds a step, the
efficiency (the time alone over the time together, 1 at best), and the processor's seconds a step, which say what the
exchange of gradients costs even on a machine that others use, too. Run it on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch

from caffecompat import Solver
from caffecompat.cli.common.processes import _free_port
from caffecompat.schema import parse_text, pb
from caffecompat.solver.place import place_of
from caffecompat.solver.ranks import joined
from caffecompat.zoo import NETWORKS, network_files

NETS = {"espnet": "ESPNet 512x256, batch 4", "alexnet": "AlexNet, batch 64"}

_FILLED = (
    'layer { name: "%s" type: "DummyData" top: "%s" dummy_data_param { shape { dim: [%s] } '
    'data_filler { type: "constant" value: %s } } }'
)
_CONVOLUTION = (
    'layer { name: "conv%d" type: "Convolution" bottom: "%s" top: "conv%d" convolution_param { num_output: %d '
    'kernel_size: %d pad: %d stride: %d group: %d weight_filler { type: "xavier" } } }'
)
_PRODUCT = (
    'layer { name: "fc%d" type: "InnerProduct" bottom: "%s" top: "fc%d" inner_product_param { num_output: %d '
    'weight_filler { type: "xavier" } } }'
)
_NORM = (
    'layer { name: "norm%d" type: "LRN" bottom: "conv%d" top: "norm%d" '
    "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }"
)
_POOL = (
    'layer { name: "pool%d" type: "Pooling" bottom: "%s" top: "pool%d" '
    "pooling_param { pool: MAX kernel_size: 3 stride: 2 } }"
)
_IN_PLACE = 'layer { name: "%s_%s" type: "%s" bottom: "%s" top: "%s" }'


def _alexnet() -> str:
    """BVLC's, with data that costs nothing."""

    def relu(top: str) -> str:
        return _IN_PLACE % ("relu", top, "ReLU", top, top)

    layers = [_FILLED % ("data", "data", "64, 3, 227, 227", "0.1"), _FILLED % ("label", "label", "64", "1")]
    bottom = "data"
    for number, outputs, kernel, pad, stride, group in (
        (1, 96, 11, 0, 4, 1), (2, 256, 5, 2, 1, 2), (3, 384, 3, 1, 1, 1), (4, 384, 3, 1, 1, 2), (5, 256, 3, 1, 1, 2)
    ):  # fmt: skip
        layers += [_CONVOLUTION % (number, bottom, number, outputs, kernel, pad, stride, group), relu(f"conv{number}")]
        bottom = f"conv{number}"
        if number in (1, 2):
            layers.append(_NORM % (number, number, number))
            bottom = f"norm{number}"
        if number in (1, 2, 5):
            layers.append(_POOL % (number, bottom, number))
            bottom = f"pool{number}"
    for number, outputs in ((6, 4096), (7, 4096), (8, 1000)):
        layers.append(_PRODUCT % (number, bottom, number, outputs))
        bottom = f"fc{number}"
        if number < 8:
            layers += [relu(bottom), _IN_PLACE % ("drop", bottom, "Dropout", bottom, bottom)]
    layers.append('layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }')
    return "\n".join(layers)


def _espnet() -> str:
    """The zoo's training net, with data that costs nothing."""
    message = parse_text(network_files(NETWORKS["espnet"])["train_val.prototxt"], pb.NetParameter())
    net = pb.NetParameter(layer=[each for each in message.layer if "Data" not in each.type and each.type != "Accuracy"])
    data = _FILLED % ("data", "data", "4, 3, 256, 512", "0.1"), _FILLED % ("label", "label", "4, 1, 256, 512", "1")
    fed = parse_text("\n".join(data), pb.NetParameter())
    fed.layer.extend(net.layer)
    return str(fed)


def work(name: str) -> None:
    """In a process of its own: train when asked to; a line of stdin is a number of steps, 0 ends it."""
    torch.set_num_threads(1)
    text = {"alexnet": _alexnet, "espnet": _espnet}[name]()
    solver_text = 'base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 solver_mode: CPU random_seed: 1'
    param = parse_text(f"{solver_text} net_param {{ {text} }}", pb.SolverParameter())
    with joined(place_of(os.environ), torch.device("cpu")) as ranks:
        solver = Solver(param, ranks=ranks)
        print("ready", flush=True)
        for line in sys.stdin:
            if not int(line):
                break
            begin, used = time.perf_counter(), time.process_time()
            solver.step(int(line))
            print(time.perf_counter() - begin, time.process_time() - used, flush=True)


class Workers:
    """The processes of one group.

    Args:
        name: of NETS.
        count: how many.
    """

    def __init__(self, name: str, count: int) -> None:
        group = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(_free_port())}  # fmt: skip
        group |= {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
        command = [sys.executable, __file__, "--worker", name]
        self._processes = [
            subprocess.Popen(command, env={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for rank in range(count)
        ]  # fmt: skip
        for process in self._processes:
            if self._line(process) != "ready\n":
                raise SystemExit("a process has not started")

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    def _tell(self, steps: int) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds a step of the slowest process, and processor's seconds a step of the one that used most."""
        self._tell(steps)
        pairs = [self._line(process).split() for process in self._processes]
        return max(float(wall) for wall, _ in pairs) / steps, max(float(used) for _, used in pairs) / steps

    def end(self) -> None:
        """Let them end."""
        self._tell(0)
        for process in self._processes:
            process.communicate()


def compare(name: str, runs: int, steps: int) -> None:
    """Print the row of a net."""
    groups = {"alone": Workers(name, 1), "together": Workers(name, 2)}
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in groups}
    for run in range(runs + 1):
        for kind, workers in groups.items():
            taken = workers.run(steps)
            if run:
                times[kind].append(taken)
    for workers in groups.values():
        workers.end()
    (alone, alone_used), (pair, pair_used) = (
        [statistics.median(each) for each in zip(*times[kind], strict=True)] for kind in groups
    )
    print(
        f"{NETS[name]:<26} alone {alone:7.3f} s, each of two {pair:7.3f} s, efficiency {alone / pair:.3f};  processor "
        f"{alone_used:7.3f} s and {pair_used:7.3f} s, {alone_used / pair_used:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="interleaved runs of each")
    parser.add_argument("--steps", type=int, default=2, help="steps of a run")
    parser.add_argument("--net", choices=NETS, help="one of the two alone")
    parser.add_argument("--worker", choices=NETS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, one thread a process")
    for name in [args.net] if args.net else NETS:
        compare(name, args.runs, args.steps)


if __name__ == "__main__":
    main()
