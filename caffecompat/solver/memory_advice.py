"""A net that does not fit into memory: which layer asked, for how much, and what to change, in this net's numbers."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator, Sequence

import torch

from caffecompat.layers.bn import BN
from caffecompat.layers.normalization import BatchNorm
from caffecompat.memory import OutOfMemory, asked_for, gigabytes, is_out_of_memory, layers_in, out_of_memory
from caffecompat.net import Net
from caffecompat.net.summary import NetSummary, summarize_net
from caffecompat.schema import pb
from caffecompat.schema.data_layers import batch_sizes
from caffecompat.solver.updates import update_rule

__all__ = ["explaining_memory", "free_memory"]


@contextlib.contextmanager
def explaining_memory(param: pb.SolverParameter, net: Net) -> Iterator[None]:
    """Let a computation of `net` that runs out of memory end with an error that says what to change.

    Args:
        param: the SolverParameter.

    Raises:
        OutOfMemory: in place of any library's own error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        try:
            text = _explained(error, param, net)
        except Exception:  # where there is no memory even for that
            raise out_of_memory(error) from error
        raise OutOfMemory(text) from error


def free_memory(error: BaseException, net: Net) -> None:
    """After running out of memory, let go of what the computation still holds, so that a snapshot has room.

    These are the blobs that the frames of the error's traceback refer to, and the gradients.
    """
    if not is_out_of_memory(error):
        return
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    for param in net.params:
        param.blob.grad = None
    if net.device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # of a device that an error has made unusable
            torch.cuda.empty_cache()


def _explained(error: Exception, param: pb.SolverParameter, net: Net) -> str:
    summary = summarize_net(net)
    asked = asked_for(error)
    train = net.phase == pb.TRAIN
    blobs = 4 * summary.activations * (2 if train else 1)
    copies = 2 + update_rule(param).slots + (param.ema_decay > 0)  # the gradient, history and averages
    weights = 4 * summary.parameters * (copies if train else 1)
    amount = f": {gigabytes(asked)} were asked for" if asked else ""
    kept = "blobs and their gradients" if train else "blobs"
    rest = "weights, gradients and history" if train else "weights"
    need = (
        f"a pass of this net needs about {gigabytes(blobs)} for {kept} and {gigabytes(weights)} for {rest}"
        f"{_limit_text(net.device)}"
    )
    where, advice = _where(error, summary, asked), _advice(param, net, blobs, weights)
    return f"not enough memory on {net.device}{amount}{where}; {need}. {advice}"


def _where(error: Exception, summary: NetSummary, asked: int | None) -> str:
    """The layer that asked: the one whose code ran, or in the backward pass that whose blob has this size."""
    running = next(layers_in(error), None)
    by_name = {layer.name: layer for layer in summary.layers}
    if running is not None and running.name in by_name:
        layer = by_name[running.name]
        tops = ", ".join(f"{blob!r} {_shape(shape)}" for blob, shape in layer.tops)
        return f" by layer {layer.name!r} ({layer.type}), which makes {tops}"
    for layer in reversed(summary.layers):
        for blob, shape in (*layer.tops, *layer.bottoms):
            if asked and math.isclose(4 * math.prod(shape), asked, rel_tol=0.01):
                at = f"layer {layer.name!r} ({layer.type})"
                return f" for the gradient or a copy of blob {blob!r} {_shape(shape)} at {at}"
    return ""


def _shape(shape: Sequence[int]) -> str:
    return f"({' x '.join(map(str, shape))}, {gigabytes(4 * math.prod(shape))})"


def _advice(param: pb.SolverParameter, net: Net, blobs: int, weights: int) -> str:
    limit = _limit(net.device)
    if limit is not None and weights > limit:
        return "No batch is small enough for that: it takes a smaller net, or more memory"
    found = _batch(net)
    smaller = "smaller pictures (crop_size, new_height and new_width) or a GPU or machine with more memory"
    if found is None:
        return f"Try a smaller batch, {smaller}"
    layer, field, batch = found
    if batch < 2:
        return f"{field} of layer {layer!r} is 1 already; try {smaller}"
    parts = _parts(batch, blobs, weights, limit)
    change = f"{field}: {batch // parts} instead of {batch} in layer {layer!r}"
    if net.phase == pb.TRAIN:
        times = max(1, param.iter_size) * parts
        change += f" with iter_size: {times} in the solver, so that an iteration sees as many items,"
        if any(isinstance(layer.module, BatchNorm | BN) for layer in net.layers):
            change += " though batch normalization sees the smaller batches,"
    else:
        change += f" with {parts} times its test_iter, so that a test sees as many items,"
    return f"Try {change} which needs about {gigabytes(blobs / parts + weights)}; else {smaller}"


def _parts(batch: int, blobs: int, weights: int, limit: int | None) -> int:
    """Into how many parts a batch is divided: as few as fit where the limit is known, at least two."""
    whole = [parts for parts in range(2, batch + 1) if batch % parts == 0]
    if limit is not None:
        whole = [parts for parts in whole if blobs / parts + weights < 0.8 * limit] or whole[-1:]
    return whole[0]


def _batch(net: Net) -> tuple[str, str, int] | None:
    """The data layer with the largest batch: its name, the field that says so, and how many."""
    found = []
    for layer in net.message.layer:
        found += [(layer.name, *stated) for stated in batch_sizes(layer)]
    return max(found, key=lambda one: one[2], default=None)


def _limit(device: torch.device) -> int | None:
    """How much memory this process may use at most, in bytes; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = []
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    # A container's limit in bytes, or "max"; and "MemTotal:   16303508 kB".
    for path, word, unit in (("/sys/fs/cgroup/memory.max", 0, 1), ("/proc/meminfo", 1, 1024)):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path) as file:
            limits.append(int(file.readline().split()[word]) * unit)
    return min(limits, default=None)


def _limit_text(device: torch.device) -> str:
    limit = _limit(device)
    return f"; there are {gigabytes(limit)}" if limit else ""
