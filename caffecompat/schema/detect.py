"""Which Caffe fork a net or solver was written for: named by a person, or shown by what only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message

from caffecompat.forks import Fork, ForkChoice, ForkName, choice_of, named_fork
from caffecompat.schema import pb
from caffecompat.schema.legacy_types import V1_TYPES
from caffecompat.schema.problems import SourceLocations

__all__ = ["Evidence", "ForkFields", "choose_fork", "detect_fork", "evidence_fields", "find_evidence"]

_SOLVER_FIELDS = {
    Fork.INTEL: ("warmup_iter", "warmup_start_lr", "disabled_update", "engine"),
    Fork.JACINTO: (
        "sparse_mode", "sparsity_target", "sparsity_step_iter", "sparsity_start_iter", "display_sparsity",
        "ignore_shape_mismatch",
    ),
    Fork.NVCAFFE: (
        "rampup_interval", "rampup_lr", "min_lr", "larc", "larc_policy", "larc_eta", "local_lr_auto", "momentum_policy",
        "weight_decay_policy", "solver_data_type", "store_blobs_in_old_format",
    ),
}  # fmt: skip
_NET_FIELDS = {
    Fork.INTEL: ("bn_stats_batch_size", "engine"),
    Fork.JACINTO: ("quantize", "net_quantization_param"),
    Fork.NVCAFFE: (
        "default_forward_type", "default_backward_type", "default_forward_math", "default_backward_math",
        "global_grad_scale", "global_grad_scale_adaptive", "default_conv_algos_override",
    ),
}  # fmt: skip
_LAYER_FIELDS = {
    Fork.INTEL: (
        "convolution_param.relu", "convolution_param.negative_slope", "convolution_param.fusion_type",
        "convolution_param.conv_algorithm", "batch_norm_param.stats_batch_size", "batch_norm_param.relu",
        "batch_norm_param.use_weight_bias", "batch_norm_param.filler", "engine", "split_param",
        "pooling_param.avg_include_pad", "transform_param.random_resize_param",
        "transform_param.random_aspect_ratio_param",
    ),
    Fork.JACINTO: ("image_label_data_param",),
    Fork.NVCAFFE: ("batch_norm_param.scale_bias", "forward_type", "backward_type", "forward_math", "backward_math"),
    Fork.XILINX: ("fixed_param", "deephi_resize_param"),
    Fork.ENET: ("upsample_param", "dense_image_data_param", "bn_param.bn_mode"),
    Fork.PSPNET: ("interp_param", "bn_param.slope_filler"),
    Fork.DEEPLAB: ("seg_accuracy_param", "mat_write_param", "mat_read_param", "dense_crf_param", "unique_label_param"),
    Fork.SSD: (
        "annotated_data_param", "multibox_loss_param", "prior_box_param", "detection_output_param",
        "detection_evaluate_param",
    ),
}  # fmt: skip
# What a solver of ours has, whose learning rate no Caffe knows, and which then shows no fork.
_OWN_POLICIES = ("cosine", "cos")
_WITH_OWN_POLICY = ("warmup_iter", "warmup_start_lr", "min_lr")
# HED's nets crop by a Crop without settings, RCF's, whose data layer is HED's, by AutoCrop.
_LAYER_TYPES = {"SegmentPixelIOU": Fork.XILINX, "ImageLabelmapData": Fork.HED, "AutoCrop": Fork.RCF}

# Of several forks that show in a net the first one holds: those further down have what those before them took over.
_ORDER = (
    Fork.INTEL, Fork.JACINTO, Fork.NVCAFFE, Fork.XILINX, Fork.ENET, Fork.PSPNET, Fork.DEEPLAB, Fork.SSD, Fork.RCF,
    Fork.HED,
)  # fmt: skip


class Evidence(NamedTuple):
    """What shows that a text was written for a fork.

    Attributes:
        fork: whose it is.
        what: the field or type, and of which layer.
        place: field of the outermost message, the index in it, and the word to look for there.
    """

    fork: Fork
    what: str
    place: tuple[str, int, str]


class ForkFields(NamedTuple):
    """The fields of a fork, and its layer types, that show it."""

    solver: Sequence[str]
    net: Sequence[str]
    layer: Sequence[str]


def evidence_fields() -> dict[Fork, ForkFields]:
    """What shows each fork; where a net has fields of several, the first fork holds."""
    types = {fork: [f"type: {kind}" for kind, of in _LAYER_TYPES.items() if of is fork] for fork in _ORDER}
    return {
        fork: ForkFields(
            _SOLVER_FIELDS.get(fork, ()), _NET_FIELDS.get(fork, ()), [*_LAYER_FIELDS.get(fork, ()), *types[fork]]
        )
        for fork in _ORDER
    }


def detect_fork(message: pb.NetParameter | pb.SolverParameter) -> Fork:
    """The fork that a NetParameter or SolverParameter was written for; BVLC where nothing shows another."""
    found = find_evidence(message)
    return found.fork if found else Fork.BVLC


def find_evidence(message: pb.NetParameter | pb.SolverParameter) -> Evidence | None:
    """What in a NetParameter or SolverParameter only a fork of Caffe has; None where it is as BVLC's."""
    if isinstance(message, pb.SolverParameter):
        own = message.lr_policy in _OWN_POLICIES
        return _first(message, _SOLVER_FIELDS, _WITH_OWN_POLICY if own else ())
    found = _first(message, _NET_FIELDS)
    best = _ORDER.index(found.fork) if found else len(_ORDER)
    for field in ("layer", "layers"):
        for index, layer in enumerate(getattr(message, field)):
            shown = _of_layer(layer)
            if shown is not None and _ORDER.index(shown[0]) < best:
                found = Evidence(shown[0], f"{shown[1]} of layer {layer.name!r}", (field, index, shown[2]))
                best = _ORDER.index(shown[0])
    return found


def _first(message: Message, fields: Mapping[Fork, Sequence[str]], but: Sequence[str] = ()) -> Evidence | None:
    for fork, names in fields.items():
        for name in names:
            if name not in but and _has(message, name):
                return Evidence(fork, name, (name, 0, name))
    return None


def _has(message: Message, path: str) -> bool:
    outer, _, inner = path.partition(".")
    if outer not in message.DESCRIPTOR.fields_by_name or not message.HasField(outer):
        return False
    if outer.endswith("forward_type") and getattr(message, outer) == pb.BFLOAT16:  # ours, which shows no fork
        return False
    return _has(getattr(message, outer), inner) if inner else True


def _of_layer(layer: Any) -> tuple[Fork, str, str] | None:
    """The fork whose a layer is, what shows it, and a word of it."""
    for fork, names in _LAYER_FIELDS.items():
        for name in names:
            if _has(layer, name) and not _repeats(layer, name):
                return fork, name, name.rpartition(".")[2]
        if fork is Fork.XILINX and _is_xilinx_norm(layer):
            return fork, f"batch_norm_param with fillers and {len(layer.param)} param", "batch_norm_param"
    old = not isinstance(layer.type, str)
    kind = V1_TYPES[layer.type] if old else layer.type
    if kind in _LAYER_TYPES and not (old and kind == "AutoCrop"):  # that is FCN's CROP
        return _LAYER_TYPES[kind], f"type {kind}", "type"
    if kind == "ImageSegData" and len(layer.top) == 3:
        return Fork.PSPNET, "the third top", "top"
    return None


def _repeats(layer: Any, name: str) -> bool:
    """An Upsample of YOLO nets, which has no mask and shows no fork whose rules differ."""
    return name == "upsample_param" and len(layer.bottom) == 1


def _is_xilinx_norm(layer: Any) -> bool:
    """A BatchNorm with scale and bias whose five blobs (or all but the unused last one) have a param each."""
    fillers = _has(layer, "batch_norm_param.scale_filler") or _has(layer, "batch_norm_param.bias_filler")
    return fillers and len(layer.param) in (4, 5)


def choose_fork(
    message: pb.NetParameter | pb.SolverParameter,
    locations: SourceLocations,
    named: ForkName | None = None,
    otherwise: ForkChoice | None = None,
) -> ForkChoice:
    """Whose rules a net follows.

    Args:
        message: the NetParameter.
        locations: where its fields are in the text.
        named: by the caller; else what is named for the whole process holds.
        otherwise: what holds where neither a person nor the text says anything: what the solver or the other net of
            a training run shows.

    Raises:
        CaffeCompatError: no fork has that name.
    """
    choice = choice_of(named) if named is not None else named_fork()
    found = find_evidence(message)
    shown = f"{found.what} ({locations.problem_inside(*found.place, '').where})" if found else ""
    if choice is not None:
        at_odds = found is not None and not choice.fork.knows_what_is_of(found.fork)
        return choice._replace(why=f"{choice.why}, although {shown} is of another fork") if at_odds else choice
    if found is not None:
        return ForkChoice(found.fork, f"as {shown} shows")
    return otherwise or ForkChoice()
