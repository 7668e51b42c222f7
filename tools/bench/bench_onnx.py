"""What the exported nets cost: onnxruntime against our own graph and against torch.compile of it; and an export's time.

    python tools/bench/bench_onnx.py [--runs 15] [--threads 2] [--only NAME ...]

Each row interleaves the variants in one run over the same input and prints medians; a ratio below 1 means that
onnxruntime is the faster. The last row exports VGG16 with its 528 MiB of weights, through the verification, and holds
that against one copy of the file that it makes: an export is to take less than 3 s beyond the copy.
Run it alone: anything else on the machine disturbs the threads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from deploy_nets import espnet, googlenet, lenet, vgg16

from caffecompat.deploy.onnx.export import ExportOptions
from caffecompat.deploy.onnx.write import prepared_net, write_onnx
from caffecompat.net import Net
from caffecompat.schema import NetDocument, parse_text, pb

Call = Callable[[], object]

NETS: dict[str, Callable[[], str]] = {
    "LeNet 28x28": lenet,
    "GoogLeNet 224x224": googlenet,
    "VGG16 224x224": vgg16,
    "ESPNet 1024x512": lambda: espnet(512, 1024),
}


def document(text: str) -> NetDocument:
    """A prototxt's text as an open net."""
    return NetDocument.from_message(parse_text(text, pb.NetParameter()))


def session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """onnxruntime's, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads would wait for work by spinning, on the cores that the other variants compute on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def variants(net: Net, model: Path, threads: int) -> dict[str, Call]:
    """The net computed in three ways, over one input."""
    shape = net.blob_shapes["data"]
    batch = np.random.default_rng(0).standard_normal(shape, np.float32)
    tensor = torch.from_numpy(batch)
    run = session(model, threads)
    compiled = torch.compile(net)

    @torch.no_grad()
    def ours() -> object:
        return net.forward({"data": tensor})

    @torch.no_grad()
    def by_compile() -> object:
        return compiled(tensor)

    return {"ours": ours, "torch.compile": by_compile, "onnxruntime": lambda: run.run(None, {"data": batch})}


def seconds(call: Call) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def inference(title: str, text: str, runs: int, threads: int, folder: Path) -> None:
    """Print medians of interleaved calls, and onnxruntime's over each of the others."""
    done = prepared_net(document(text), None, ExportOptions())
    model = folder / "net.onnx"
    write_onnx(done, model)
    calls = variants(done.net, model, threads)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 2):
        for name, call in calls.items():
            taken = seconds(call)
            if run >= 2:  # the first calls compile, and fill caches
                times[name].append(taken)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    row = "  ".join(f"{name} {value:8.2f} ms" for name, value in medians.items())
    quick = medians["onnxruntime"]
    ratios = f"onnxruntime/ours {quick / medians['ours']:.3f}  /torch.compile {quick / medians['torch.compile']:.3f}"
    print(f"{title:<20}{row}  {ratios}", flush=True)


def export_of_vgg16(runs: int, folder: Path) -> None:
    """Print how long an export takes, from prototxt and caffemodel to the verified file, beyond a copy of the file."""
    prototxt, weights, model, copy = (folder / name for name in ("vgg.prototxt", "vgg.caffemodel", "vgg.onnx", "copy"))
    prototxt.write_text(vgg16())
    net = Net(prototxt, pb.TEST, log=False)
    net.save(weights)
    del net

    def export() -> None:
        found = document(prototxt.read_text())
        write_onnx(prepared_net(found, os.fspath(weights), ExportOptions()), model)

    exports, copies = [], []
    for run in range(runs + 1):
        taken = seconds(export), seconds(lambda: shutil.copyfile(model, copy))
        if run:
            exports.append(taken[0])
            copies.append(taken[1])
    whole, copied = statistics.median(exports), statistics.median(copies)
    mebibytes = model.stat().st_size / 2**20
    print(
        f"export of VGG16 ({mebibytes:.0f} MiB), verified: {whole:.2f} s, a copy {copied:.2f} s, "
        f"beyond the copy {whole - copied:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs (of the export a third as many)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of onnxruntime")
    parser.add_argument("--only", nargs="+", choices=[*NETS, "export"], help="these rows")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {args.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        for title, text in NETS.items():
            if args.only is None or title in args.only:
                inference(title, text(), args.runs, args.threads, Path(folder))
        if args.only is None or "export" in args.only:
            export_of_vgg16(max(args.runs // 3, 1), Path(folder))


if __name__ == "__main__":
    main()
