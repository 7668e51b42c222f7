"""Small nets as text, with seeded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffecompat.data import make_source
from caffecompat.formats import save_caffemodel
from caffecompat.net import Net
from caffecompat.schema import open_net, pb

__all__ = ["conv", "in_place", "layer", "pool", "write_net"]


def layer(kind: str, name: str, bottoms: str, tops: str = "", more: str = "") -> str:
    """Of bottoms and tops that blanks separate; the name is the top if none is given."""
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    writes = " ".join(f'top: "{blob}"' for blob in (tops or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {reads} {writes} {more} }}\n'


def conv(name: str, bottom: str, count: int, more: str = "", kind: str = "Convolution", kernel: int = 3) -> str:
    return layer(kind, name, bottom, "", f"convolution_param {{ num_output: {count} kernel_size: {kernel} {more} }}")


def pool(name: str, bottom: str, more: str) -> str:
    return layer("Pooling", name, bottom, "", f"pooling_param {{ {more} }}")


def in_place(kind: str, name: str, blob: str, more: str = "") -> str:
    return layer(kind, name, blob, blob, more)


def write_net(text: str, seed: int = 0) -> None:
    """Write net.prototxt and net.caffemodel; factors and statistics are far from 0 and 1."""
    Path("net.prototxt").write_text(text)
    random = np.random.default_rng(seed)
    net = Net(open_net("net.prototxt"), pb.TRAIN, sources=make_source, log=False)
    kinds = {one.name: one.type for one in net.message.layer}
    blobs = {}
    for name, own in net.blobs_by_layer().items():
        if kinds[name] in ("BatchNorm", "BN", "PReLU", "Scale"):
            blobs[name] = [random.uniform(0.25, 2, blob.shape).astype(np.float32) for blob in own]
        else:
            sizes = [np.sqrt(blob[0].size) for blob in own]
            blobs[name] = [random.normal(0, 1 / size, blob.shape).astype(np.float32)
                           for blob, size in zip(own, sizes, strict=True)]  # fmt: skip
    message = net.message
    net.close()
    save_caffemodel("net.caffemodel", message, blobs)
