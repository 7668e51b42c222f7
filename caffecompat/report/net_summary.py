"""A net counted from its prototxt, without its data."""

from __future__ import annotations

from caffecompat.data.placeholder import Placeholders
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.net import Net
from caffecompat.net.summary import NetSummary, summarize_net
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.python_code import looking_at_nets
from caffecompat.schema import NetSource, as_document

__all__ = ["summarize"]


def summarize(
    model: NetSource | Net,
    phase: int | str = "TEST",
    *,
    weights: WeightPaths | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    skip_mismatched: bool = False,
    strict: bool = False,
    fork: ForkName | None = None,
) -> NetSummary:
    """Count a net's parameters, multiply-accumulates and memory, layer by layer; no data is needed.

    A data layer whose data cannot be opened gets the shapes that the prototxt states, and a Python layer whose code is
    not here is passed over; notes say so.

    Args:
        model: path of a prototxt, or a net that was read; or a `Net`, which is counted as it is.
        phase: "TRAIN" or "TEST", or pycaffe's numbers of them.
        weights: weight file(s) to load: then `zeros` of the layers are counted in these, and `loaded` says what fits.
        size: (height, width) of the input in pixels instead of the prototxt's.
        channels: of pictures whose data cannot be opened (3).
        skip_mismatched: leave layers that do not fit the weights at their initial values.
        strict: unknown fields in the prototxt are errors.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Returns:
        Counts of values and of multiply-accumulates (of one input, as published tables count them), shapes as Caffe
        has them, (N, C, H, W) for pictures.

    Raises:
        NetError: the prototxt makes no net.
        WeightsMismatch: the weights do not fit.
        CaffeCompatError: a file cannot be read, or the phase is unknown; of a `Net`, any setting is given.

    >>> import caffecompat
    >>> summary = caffecompat.summarize("deploy.prototxt", size=(8, 8))
    >>> (summary.parameters, summary.macs, summary.outputs)
    (624, 7424.0, [('prob', (1, 2))])
    >>> [(layer.name, layer.tops[0][1], layer.parameters) for layer in summary.layers[1:]]
    [('conv', (1, 4, 8, 8), 112), ('fc', (1, 2), 512), ('prob', (1, 2), 0)]
    """
    if isinstance(model, Net):
        if weights is not None or size or channels or fork is not None:
            raise CaffeCompatError("a net that is made already is counted as it is: no weights, size, channels, fork")
        return summarize_net(model)
    sources = Placeholders(size, channels)
    size, channels = sources.size, sources.channels
    document = as_document(model, strict=strict, fork=fork)
    with looking_at_nets(size, channels) as opaque:
        net = Net(document, phase, sources=sources, log=False, meta=weights is None)
    net.close()
    if size:
        _resize(net, size)
    report = None
    if weights is not None:
        report = net.load_weights(weights, skip_mismatched=skip_mismatched)
        report.describe_missing(", ".join(weight_paths(weights)))
    summary = summarize_net(net)
    summary.notes, summary.loaded = [*sources.notes, *opaque.lines()], report
    return summary


def _resize(net: Net, size: tuple[int, int]) -> None:
    """Give the pictures that come from outside another size."""
    fed = {
        blob: (*net.blob_shapes[blob][:2], *size)
        for layer in net.layers
        if layer.module is None and layer.source is None
        for blob in layer.tops
        if len(net.blob_shapes[blob]) == 4
    }
    if fed:
        net.reshape(fed)
