"""Layer types of forks that compute what a BVLC layer does with other settings: brought to BVLC's when a net is read.

- ``DepthwiseConvolution`` (yonghenglh6/DepthwiseConvolution) and ``ConvolutionDepthwise`` (BVLC's pull request 5665,
  farmingyard/caffe-mobilenet): a Convolution with a group a channel, where none is stated.
- ``Convolution3D`` and ``Deconvolution3D`` (facebookarchive/C3D, v1.0): a Convolution over depth, height and width of
  (N, C, L, H, W), with ``kernel_depth``, ``temporal_stride`` and ``temporal_pad``. ``filter_group`` splits the work,
  not the result.
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.schema import pb
from caffecompat.schema.problems import Problem, PrototxtError, SourceLocations

__all__ = ["fork_types", "rename_fork_types"]

_DEPTHWISE = {"DepthwiseConvolution": "Convolution", "ConvolutionDepthwise": "Convolution"}
_VOLUMES = {"Convolution3D": "Convolution", "Deconvolution3D": "Deconvolution"}
# C3D's field for time, and BVLC's repeated one with what it is where it is not given.
_TEMPORAL = (("kernel_depth", "kernel_size", None), ("temporal_stride", "stride", 1), ("temporal_pad", "pad", 0))


def fork_types(net: pb.NetParameter) -> list[str]:
    """The types of that kind in a net's layers of today's form, each once."""
    return [name for name in dict.fromkeys(layer.type for layer in net.layer) if name in _DEPTHWISE | _VOLUMES]


def rename_fork_types(net: pb.NetParameter, locations: SourceLocations, origins: Sequence[tuple[str, int]]) -> None:
    """Give such layers BVLC's type, with settings that say the same, in place.

    Args:
        origins: for each layer, the field of the file's message and the index in it that it was made from.

    Raises:
        PrototxtError: settings that no layer of the type can have; every such layer is in it.
    """
    problems: list[Problem] = []
    for layer, (field, index) in zip(net.layer, origins, strict=True):
        if layer.type in _DEPTHWISE:
            layer.type = _DEPTHWISE[layer.type]
            if not layer.convolution_param.HasField("group"):
                layer.convolution_param.group = max(1, layer.convolution_param.num_output)
        elif layer.type in _VOLUMES:
            missing = _missing(layer.convolution_param) if layer.HasField("convolution_param") else ""
            if missing:
                text = f"layer {layer.name!r} ({layer.type}): {missing}"
                problems.append(locations.problem_inside(field, index, "convolution_param", text))
                continue
            layer.type = _VOLUMES[layer.type]
            _add_depth(layer.convolution_param)
    if problems:
        raise PrototxtError(problems)


def _missing(convolution: pb.ConvolutionParameter) -> str:
    """What keeps a convolution over volumes from having one size on each axis."""
    if not convolution.HasField("kernel_depth") or len(convolution.kernel_size) != 1:
        return "needs kernel_depth, and one kernel_size for height and width"
    if len(convolution.stride) > 1 or len(convolution.pad) > 1:
        return "takes one stride and one pad for height and width"
    return ""


def _add_depth(convolution: pb.ConvolutionParameter) -> None:
    for temporal, spatial, default in _TEMPORAL:
        given = list(getattr(convolution, spatial)) or ([] if default is None else [default])
        depth = getattr(convolution, temporal)
        if given != [default] or depth != default:
            getattr(convolution, spatial)[:] = [depth, *given, *given]
        convolution.ClearField(temporal)
    convolution.ClearField("filter_group")
