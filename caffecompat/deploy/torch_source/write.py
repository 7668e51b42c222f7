"""The whole way from a prototxt to a verified Python file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from torch import nn

from caffecompat.compare.nets import TOLERANCE, Difference, DifferentNumbers, in_single_precision
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.torch_source.source import make_source, write_source
from caffecompat.deploy.torch_source.verify import compare_source
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.net import Net
from caffecompat.net.quantization_plan import FLOAT_NOTE, wants_quantization
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetDocument, NetSource, as_document, pb

__all__ = ["ExportedSource", "export_torch"]


@dataclass
class ExportedSource:
    """What an export did.

    Attributes:
        net: what was exported.
        path: the Python file.
        weights: the file with its state_dict.
        differences: of each output of what was written, from the net's.
        notes: what was done to get a net for deployment.
        missing: what to report of layers that the weight file does not have; "" where it has all.
    """

    net: Net
    path: str
    weights: str = ""
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: str = ""


def export_torch(
    model: NetSource,
    weights: WeightPaths | None,
    path: str | os.PathLike[str],
    *,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    allow_nonfinite: bool = False,
    fork: ForkName | None = None,
) -> ExportedSource:
    """Write a net as one Python file that needs torch alone, and its weights next to it; both are run and compared.

    Args:
        model: path of a deploy or train_val prototxt, or a net that was read.
        weights: a weight file, or a list of them; None leaves initial values.
        path: the file to write, NAME.py; the state_dict goes into NAME.pt.
        batch, size: the input's, instead of the prototxt's; size is (height, width) in pixels.
        allow_nonfinite: write it though the net holds NaN or infinity, if what is written has them at the same places.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        DifferentNumbers: an output differs by more than 1e-5 of its largest value; no files are left.
        NonFiniteError: the net holds NaN or infinity, or computes them; no files are left.
        CaffeCompatError: the net or its weights cannot be read, or do not fit; a layer has no form in torch source; a
            file cannot be written.

    >>> import caffecompat, torch
    >>> done = caffecompat.export_torch("deploy.prototxt", "net.caffemodel", "net.py")
    >>> (done.path, done.weights, max(difference.relative for difference in done.differences) < 1e-5)
    ('net.py', 'net.pt', True)
    >>> from net import load  # needs torch alone
    >>> load()(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 2])
    """
    name = os.fspath(path)
    if not name.endswith(".py"):
        raise CaffeCompatError(f"{name}: expected a name that ends in .py")
    document = as_document(model, fork=fork)
    with looking_at_nets(size):
        deployed = deploy_net(document, size=size, batch=batch)
        copy = NetDocument.from_message(deployed.message, document.path, like=document.fork_choice)
        net = Net(copy, pb.TEST, log=False, quantized=False, weights=weights)
    missing = net.loaded.describe_missing(", ".join(weight_paths(weights or ()))) if net.loaded else ""
    if wants_quantization(deployed.message):
        deployed.notes.append(FLOAT_NOTE)
    if net.half_precision:
        net = in_single_precision(net)
        deployed.notes.append("computes in 32 bits throughout, whatever forward_type says")
    done = ExportedSource(net, name, notes=deployed.notes, missing=missing)
    source = make_source(net, document.path, os.path.splitext(os.path.basename(name))[0])

    def check(written: nn.Module) -> None:
        done.differences = compare_source(net, source, written, allow_nonfinite=allow_nonfinite)
        if any(difference.relative > TOLERANCE for difference in done.differences):
            lines = "\n".join(f"  {difference.line()}" for difference in done.differences)
            raise DifferentNumbers(
                f"{name} was not written, it computes something else than {document.path}; please report it:\n{lines}"
            )

    try:
        done.weights = write_source(source, name, check)
    except NameError as problem:
        raise CaffeCompatError(
            f"{name} was not written, it fails: {problem}; functions that a file of layers brings into it can use "
            "torch, nn, F, Tensor, math, Sequence and each other"
        ) from problem
    return done
