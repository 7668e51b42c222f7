"""SSD's data layer and detection heads of ``caffe.model_libs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from caffecompat.pycaffe.model_libs.blocks import ConvBNLayer, as_list
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.schema import pb

__all__ = ["CreateAnnotatedDataLayer", "CreateMultiBoxHead"]


def CreateAnnotatedDataLayer(
    source: str,
    batch_size: int = 32,
    backend: int = P.Data.LMDB,
    output_label: bool = True,
    train: bool = True,
    label_map_file: str = "",
    anno_type: int | None = None,
    transform_param: Mapping[str, Any] | None = None,
    batch_sampler: Sequence[Mapping[str, Any]] = ({},),
) -> Any:
    """The AnnotatedData layer "data"; its top, or (data, label).

    Args:
        source: the database.
        train: for the TRAIN phase, else for TEST.
        transform_param, batch_sampler: messages of these names as dicts.
    """
    annotated: dict[str, Any] = {"label_map_file": label_map_file, "batch_sampler": list(batch_sampler)}
    if anno_type is not None:
        annotated["anno_type"] = anno_type
    return L.AnnotatedData(
        name="data", annotated_data_param=annotated,
        data_param={"batch_size": batch_size, "backend": backend, "source": source}, ntop=2 if output_label else 1,
        include={"phase": pb.TRAIN if train else pb.TEST}, transform_param=transform_param or {},
    )  # fmt: skip


def CreateMultiBoxHead(
    net: NetSpec,
    data_layer: str = "data",
    num_classes: int = 0,
    from_layers: Sequence[str] = (),
    use_objectness: bool = False,
    normalizations: Sequence[float] = (),
    use_batchnorm: bool = True,
    lr_mult: float = 1,
    use_scale: bool = True,
    min_sizes: Sequence[Any] = (),
    max_sizes: Sequence[Any] = (),
    prior_variance: Sequence[float] = (0.1,),
    aspect_ratios: Sequence[Any] = (),
    steps: Sequence[Any] = (),
    img_height: int = 0,
    img_width: int = 0,
    share_location: bool = True,
    flip: bool = True,
    clip: bool = True,
    offset: float = 0.5,
    inter_layer_depth: Sequence[int] = (),
    kernel_size: int = 1,
    pad: int = 0,
    conf_postfix: str = "",
    loc_postfix: str = "",
    **bn_param: Any,
) -> list[Top]:
    """Add predictions of places and classes, and prior boxes, to each of several layers, and join them.

    Args:
        data_layer: the blob whose size the prior boxes are in units of.
        num_classes: the background among them.
        from_layers: the layers; the following sequences have an entry for each of them, or are empty.
        normalizations: the scale of a Normalize layer before the heads, -1 for none.
        min_sizes, max_sizes, aspect_ratios: of the prior boxes, one value or a list.
        steps: of the prior boxes; empty for the size of the data over that of the layer.
        inter_layer_depth: channels of a 3x3 convolution before the heads, 0 for none.
        use_scale: without effect, as in the fork.
        bn_param: for `ConvBNLayer`.

    Returns:
        the tops ``mbox_loc``, ``mbox_conf``, ``mbox_priorbox`` and, with `use_objectness`, ``mbox_objectness``.

    Raises:
        AssertionError: sequences of other lengths, no classes, no such data layer (the fork's own errors).
    """
    assert num_classes, "must provide num_classes"
    assert num_classes > 0, "num_classes must be positive number"
    for name, given in (("normalizations", normalizations), ("max_sizes", max_sizes), ("steps", steps),
                        ("aspect_ratios", aspect_ratios), ("inter_layer_depth", inter_layer_depth)):  # fmt: skip
        assert not given or len(from_layers) == len(given), f"from_layers and {name} should have same length"
    assert len(from_layers) == len(min_sizes), "from_layers and min_sizes should have same length"
    assert data_layer in net.keys(), "data_layer is not in net's layers"  # noqa: SIM118 -- no __contains__

    def entry(given: Sequence[Any], at: int, default: Any) -> Any:
        return given[at] if given else default

    def predict(bottom: str, name: str, channels: int) -> Top:
        """A convolution whose channels come last, flat."""
        ConvBNLayer(
            net, bottom, name, use_bn=use_batchnorm, use_relu=False, lr_mult=lr_mult, num_output=channels,
            kernel_size=kernel_size, pad=pad, stride=1, **bn_param,
        )  # fmt: skip
        net[f"{name}_perm"] = L.Permute(net[name], order=[0, 2, 3, 1])
        net[f"{name}_flat"] = L.Flatten(net[f"{name}_perm"], axis=1)
        flat: Top = net[f"{name}_flat"]
        return flat

    tops: dict[str, list[Top]] = {"mbox_loc": [], "mbox_conf": [], "mbox_priorbox": [], "mbox_objectness": []}
    for at, layer in enumerate(from_layers):
        bottom = _normalized(net, layer, entry(normalizations, at, -1))
        depth = entry(inter_layer_depth, at, 0)
        if depth > 0:
            ConvBNLayer(
                net, bottom, f"{bottom}_inter", use_bn=use_batchnorm, use_relu=True, lr_mult=lr_mult,
                num_output=depth, kernel_size=3, pad=1, stride=1, **bn_param,
            )  # fmt: skip
            bottom = f"{bottom}_inter"
        priors = {
            "min_size": as_list(min_sizes[at]),
            "max_size": as_list(entry(max_sizes, at, [])),
            "aspect_ratio": as_list(entry(aspect_ratios, at, [])),
        }
        count = _count_priors(priors, flip)
        locations = 4 * count * (1 if share_location else num_classes)
        tops["mbox_loc"].append(predict(bottom, f"{bottom}_mbox_loc{loc_postfix}", locations))
        tops["mbox_conf"].append(predict(bottom, f"{bottom}_mbox_conf{conf_postfix}", count * num_classes))
        name = f"{bottom}_mbox_priorbox"
        net[name] = L.PriorBox(
            net[bottom], net[data_layer], min_size=priors["min_size"], clip=clip, variance=list(prior_variance),
            offset=offset,
        )  # fmt: skip
        net.update(name, _optional(priors, flip, entry(steps, at, []), img_height, img_width))
        tops["mbox_priorbox"].append(net[name])
        if use_objectness:
            tops["mbox_objectness"].append(predict(bottom, f"{bottom}_mbox_objectness", 2 * count))
    for name, joined in tops.items():
        if joined:
            net[name] = L.Concat(*joined, axis=2 if name == "mbox_priorbox" else 1)
    return [net[name] for name, joined in tops.items() if joined]


def _normalized(net: NetSpec, layer: str, scale: float) -> str:
    if scale == -1:
        return layer
    name = f"{layer}_norm"
    filler = {"type": "constant", "value": scale}
    net[name] = L.Normalize(net[layer], scale_filler=filler, across_spatial=False, channel_shared=False)
    return name


def _count_priors(priors: Mapping[str, list[Any]], flip: bool) -> int:
    """Prior boxes at each place: for each min_size a square, one for its max_size, and the aspect ratios."""
    sizes = len(priors["min_size"])
    assert len(priors["max_size"]) in (0, sizes), "max_size and min_size should have same length."
    shapes = 1 + bool(priors["max_size"]) + len(priors["aspect_ratio"]) * (2 if flip else 1)
    return sizes * shapes


def _optional(
    priors: Mapping[str, list[Any]], flip: bool, step: Any, img_height: int, img_width: int
) -> dict[str, Any]:
    """The fields of PriorBox that are there only where they say something."""
    fields: dict[str, Any] = {}
    if priors["max_size"]:
        fields["max_size"] = priors["max_size"]
    if priors["aspect_ratio"]:
        fields.update(aspect_ratio=priors["aspect_ratio"], flip=flip)
    if step:
        fields["step"] = step
    if img_height and img_width:
        square = img_height == img_width
        fields.update({"img_size": img_height} if square else {"img_h": img_height, "img_w": img_width})
    return fields
