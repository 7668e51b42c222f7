"""The whole way from a deploy net with batch normalization to one without, both run and compared."""

from __future__ import annotations

import os
from dataclasses import dataclass

from caffecompat.compare.nets import TOLERANCE, Difference, compare_nets, load_blobs
from caffecompat.deploy.batch_statistics import use_running_statistics
from caffecompat.deploy.fold_norm import Folded, fold_norms
from caffecompat.deploy.moved_paths import lead_paths
from caffecompat.errors import CaffeCompatError
from caffecompat.forks import ForkName
from caffecompat.formats import save_caffemodel
from caffecompat.formats.atomic import atomic_together, atomic_write, protects
from caffecompat.net import Net, NetError
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetDocument, NetSource, as_document, pb, write_text
from caffecompat.schema.data_layers import reads_data

__all__ = ["Merged", "merge_batch_norm"]


@dataclass
class Merged:
    """What merging did.

    Attributes:
        folded: the net that was written, its blobs, which layers went into which, and which stayed and why.
        differences: of each output from the first net's, on random input.
        statistics_changed: whether a BatchNorm now uses its stored statistics that used each batch's.
    """

    folded: Folded
    differences: list[Difference]
    statistics_changed: bool

    @property
    def same(self) -> bool:
        """Whether both nets compute the same, but for rounding: 1e-5 of each output's largest value."""
        return all(difference.relative <= TOLERANCE for difference in self.differences)


@protects("model", "weights")
def merge_batch_norm(
    model: NetSource,
    weights: WeightPaths,
    out_model: str | os.PathLike[str],
    out_weights: str | os.PathLike[str],
    *,
    running_statistics: bool = False,
    allow_nonfinite: bool = False,
    fork: ForkName | None = None,
) -> Merged:
    """Fold batch normalization and Scale into the layers around them, and write the net and its weights.

    Both files are written whatever the comparison says; see :attr:`Merged.same`.

    Args:
        model: path of a deploy prototxt, or a net that was read.
        weights: its weight file, or a list of them; they must have all of the net's layers.
        out_model, out_weights: the prototxt and the caffemodel to write: both or neither.
        running_statistics: fold BatchNorm with ``use_global_stats: false`` too, by its stored statistics, which changes
            the numbers.
        allow_nonfinite: write though the net holds NaN or infinity, if the merged net has them at the same places.
        fork: the Caffe whose rules hold, where the text cannot show it.

    Raises:
        NonFiniteError: the net holds NaN or infinity, or computes them; nothing is written.
        CaffeCompatError: the net or its weights cannot be read or do not fit; it reads data; a file cannot be written.

    >>> import caffecompat
    >>> done = caffecompat.merge_batch_norm("bn.prototxt", "bn.caffemodel", "merged.prototxt", "merged.caffemodel")
    >>> (done.folded.folded, done.same)
    ([('bn', 'conv'), ('scale', 'conv')], True)
    >>> [layer.type for layer in caffecompat.read_net("merged.prototxt").layer]
    ['Input', 'Convolution']
    """
    document = as_document(model, fork=fork)
    changed = running_statistics and bool(use_running_statistics(document.message))
    net = _fed_net(document, weights)
    folded = fold_norms(net, around=True, target="dpu")
    if not document.message.HasField("state"):
        folded.message.ClearField("state")  # the phase that it was folded in
    copy = NetDocument.from_message(folded.message, like=document.fork_choice, relative_to=document.relative_to)
    merged = Net(copy, pb.TEST, log=False, quantized=False)
    load_blobs(merged, folded.blobs)
    differences = compare_nets(net, merged, allow_nonfinite=allow_nonfinite)
    lead_paths(folded.message, document.relative_to, os.path.dirname(out_model))
    with atomic_together(out_weights, out_model) as (weights_file, text_file):
        save_caffemodel(weights_file, folded.message, folded.blobs, fork=document.fork_choice.stored)
        with atomic_write(text_file) as file:
            file.write(write_text(folded.message).encode())
    return Merged(folded, differences, changed)


def _fed_net(document: NetDocument, weights: WeightPaths) -> Net:
    try:
        net = Net(document, pb.TEST, log=False, quantized=False, weights=weights)
    except NetError:
        if any(map(reads_data, document.message.layer)):
            raise CaffeCompatError(
                f"{document.path} reads data; 'caffecompat export deploy --merge-bn' makes a deploy net of it and folds"
            ) from None
        raise
    if net.loaded and net.loaded.missing:
        raise CaffeCompatError(net.loaded.describe_missing(", ".join(weight_paths(weights))))
    return net
