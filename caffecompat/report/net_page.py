"""A net as a page to look around in: pan, zoom, search, repeated blocks folded, each layer's settings and weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats.archives import read_blobs
from caffecompat.formats.atomic import atomic_write
from caffecompat.net.filter import filter_net, make_state
from caffecompat.net.summary import LayerSummary, NetSummary
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.report.net_page_layout import lay_out_page
from caffecompat.report.net_summary import summarize
from caffecompat.report.page import finite, make_page
from caffecompat.schema import NetDocument, NetSource, as_document, as_phase, pb, write_text
from caffecompat.wording import few

__all__ = ["draw_page", "net_page"]

_BINS = 41
_LONGEST_TEXT = 6000  # letters of a layer's prototxt


def draw_page(
    model: NetSource,
    out: str | os.PathLike[str],
    *,
    weights: WeightPaths | None = None,
    phase: int | str = "TEST",
    level: int | None = None,
    stages: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fork: ForkName | None = None,
) -> None:
    """Write a net as one self-contained page: pan, zoom, search, folded blocks, shapes, settings, weights.

    Args:
        model: path of a prototxt, or a net that was read.
        out: .html to write.
        weights: weight file(s), of whose blobs the page shows statistics and histograms.
        phase: "TRAIN" or "TEST", or pycaffe's numbers of them: whose layers are shown.
        level, stages: of the NetState.
        size: (height, width) of the input in pixels, where neither data nor text state it.
        channels: of pictures whose data cannot be opened (3).
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        CaffeCompatError: a file cannot be read, the weights are another net's, or the phase is unknown. A net that does
            not build is drawn without shapes, and the page says why.
        WriteError: `out` cannot be written.

    >>> import caffecompat
    >>> caffecompat.draw_page("deploy.prototxt", "net.html", weights="net.caffemodel")
    """
    document = as_document(model, fork=fork)
    text = net_page(document, weights, phase, level=level, stages=stages, size=size, channels=channels)
    with atomic_write(out) as file:
        file.write(text.encode())


def net_page(
    document: NetDocument,
    weights: WeightPaths | None = None,
    phase: int | str = "TEST",
    *,
    level: int | None = None,
    stages: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> str:
    """The page's HTML; see `draw_page`."""
    number = as_phase(phase)
    state = make_state(document.message, number, level, stages)
    document = document.keeping(filter_net(document.message, state, lambda line: None)[1])
    document.message.state.CopyFrom(state)
    layers = list(document.message.layer)
    notes: list[str] = []
    summary = _summary(document, number, size, channels, notes)
    blobs = _blobs(weights, layers, notes)
    known = {} if summary is None else dict(enumerate(summary.layers))
    shapes = [[shape for _, shape in known[at].tops] if at in known else [] for at in range(len(layers))]
    data = {
        "layers": [_facts(layer, known.get(at), blobs.get(layer.name, [])) for at, layer in enumerate(layers)],
        **lay_out_page(layers, shapes),
    }
    name = document.message.name or os.path.basename(document.path)
    counts = [f"{len(layers)} layers", f"phase {'TRAIN' if number == pb.TRAIN else 'TEST'}"]
    if summary is not None:
        counts += [f"{summary.parameters:,} parameters", f"{summary.macs:,.0f} multiply-accumulates"]
    return make_page(
        name, _body(name, counts, notes), data, styles=["net_page.css"], scripts=["histogram.js", "net_page.js"]
    )


def _summary(
    document: NetDocument, phase: int, size: tuple[int, int] | None, channels: int | None, notes: list[str]
) -> NetSummary | None:
    try:
        summary = summarize(document, phase, size=size, channels=channels)
    except CaffeCompatError as problem:
        notes.append(f"no shapes: {' '.join(str(problem).split())}")
        return None
    notes += summary.notes
    return summary if len(summary.layers) == len(document.message.layer) else None


def _blobs(
    weights: WeightPaths | None, layers: Sequence[pb.LayerParameter], notes: list[str]
) -> dict[str, list[np.ndarray]]:
    """The blobs of the layers, the last file winning, as where weights are loaded."""
    found: dict[str, list[np.ndarray]] = {}
    for path in weight_paths(weights) if weights is not None else ():
        found.update({name: blobs for name, blobs in read_blobs(path).items() if blobs})
    names = [layer.name for layer in layers]
    unused = [name for name in found if name not in names]
    if found and len(unused) == len(found):
        raise CaffeCompatError(
            f"{', '.join(weight_paths(weights or ()))}: none of its layers is in this net; the file has {few(unused)}, "
            f"the net {few(names)}; are these the weights of another one?"
        )
    if unused:
        notes.append(f"{len(unused)} layers of the weights are not in the net: {few(unused, 12)}")
        glog.warning(notes[-1])
    return found


def _body(name: str, counts: Sequence[str], notes: Sequence[str]) -> str:
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"""<header><h1>{escape(name)}</h1><span id="counts">{escape(", ".join(counts))}</span>
<div id="tools"><span id="finder"><input id="search" type="search" placeholder="find a layer  ( / )"
autocomplete="off" aria-label="search layers"><ol id="hits"></ol></span>
<button id="in" title="closer (+)">+</button><button id="out" title="further away (-)">−</button>
<button id="fit" title="the whole net (0)">fit</button><button id="fold" title="fold or unfold repeated blocks (f)"
></button><button class="theme"></button></div></header>
{f'<details id="notes"><summary>{len(notes)} note{"s" * (len(notes) > 1)}</summary>{said}</details>' if notes else ""}
<main><svg id="canvas" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="the net"></svg>
<aside id="panel" hidden></aside></main>"""


def _facts(layer: pb.LayerParameter, summary: LayerSummary | None, blobs: Sequence[np.ndarray]) -> dict[str, Any]:
    """What the panel shows of a layer."""
    text = write_text(_without_blobs(layer)).strip()
    facts: dict[str, Any] = {"name": layer.name, "type": layer.type, "text": text[:_LONGEST_TEXT]}
    if summary is None:
        facts["bottoms"], facts["tops"] = ([[blob, None] for blob in names] for names in (layer.bottom, layer.top))
    else:
        facts["bottoms"], facts["tops"] = (
            [[blob, list(shape)] for blob, shape in values] for values in (summary.bottoms, summary.tops)
        )
        facts |= {"parameters": summary.parameters, "trained": summary.trained, "macs": summary.macs}
        facts["shapes"] = [list(shape) for shape in summary.blobs]
        if summary.field is not None:
            facts["field"] = list(summary.field.size) if summary.field.size else "whole input"
    facts["blobs"] = [_histogram(np.asarray(values)) for values in blobs]
    return facts


def _without_blobs(layer: pb.LayerParameter) -> pb.LayerParameter:
    if not layer.blobs:
        return layer
    copy = pb.LayerParameter()
    copy.CopyFrom(layer)
    copy.ClearField("blobs")
    return copy


def _histogram(values: np.ndarray) -> dict[str, Any]:
    """Statistics of a blob, and how many of its values lie in each of equal steps from the least to the greatest."""
    flat = values.astype(np.float32, copy=False).ravel()
    good = flat[np.isfinite(flat)]
    facts: dict[str, Any] = {"shape": list(values.shape), "count": int(flat.size), "bad": int(flat.size - good.size)}
    if good.size:
        low, high = float(good.min()), float(good.max())
        bins = np.histogram(good, _BINS, (low, high))[0] if high > low else np.array([good.size])
        facts |= {
            "min": finite(low), "max": finite(high), "mean": finite(float(good.mean(dtype=np.float64))),
            "std": finite(float(good.std(dtype=np.float64))),
            "zeros": finite(1 - np.count_nonzero(good) / good.size, 3), "bins": bins.tolist(),
        }  # fmt: skip
    return facts
