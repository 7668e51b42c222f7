"""The net that pictures are shown to: of a prototxt that trains, what is deployed of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from caffecompat import glog
from caffecompat.deploy.deploy_net import Deployed, DeployError, deploy_net, reads_data
from caffecompat.deploy.inference.inference_net import Engine
from caffecompat.errors import CaffeCompatError
from caffecompat.evaluate.onnx_model import is_onnx
from caffecompat.evaluate.scored_net import ScoredNet
from caffecompat.forks import ForkName
from caffecompat.layers import class_of
from caffecompat.net.precision import Amp, refuse_amp, with_amp
from caffecompat.net.weights import WeightPaths, weight_paths
from caffecompat.schema import NetDocument, NetSource, as_document
from caffecompat.schema.data_layers import is_input

__all__ = ["fed_model", "scored_model"]

Kind = TypeVar("Kind", bound=ScoredNet)


def fed_model(
    model: NetSource,
    *,
    size: tuple[int, int] | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    probabilities: bool = False,
    fork: ForkName | None = None,
) -> NetDocument:
    """A net for pictures from outside; of one that reads data the deploy net, which a log line says.

    Args:
        model: path of a prototxt, or a net that was read.
        size: (height, width) of the input, where data and prototxt do not say it or instead.
        probabilities: put what the loss applies to its scores (Softmax, Sigmoid) after them.

    Raises:
        CaffeCompatError: the prototxt cannot be read, or the net reads data and nothing says what its input is.
    """
    document = as_document(model, fork=fork)
    path = document.path
    if not reads_data(document, level=level, stages=stages):
        return document
    scored = probabilities and any(class_of(layer.type).deploy_head for layer in document.message.layer)
    head = "softmax" if scored else None
    try:
        deployed = deploy_net(document, size=size, level=level, stages=stages, head=head)
    except DeployError as problem:
        raise CaffeCompatError(f"{path} reads its own data, and no deploy net can be made of it: {problem}") from None
    _keep_short_side(deployed)
    inputs = ", ".join(f"{blob} {'x'.join(map(str, shape))}" for blob, shape in deployed.inputs.items())
    glog.info(f"{path} reads its own data; pictures go into its deploy net instead, input {inputs}")
    return NetDocument.from_message(deployed.message, path, like=document.fork_choice)


def _keep_short_side(deployed: Deployed) -> None:
    """Let the Input say how the data layer resizes pictures; written deploy prototxts do not, for other Caffes."""
    if deployed.data is None or not deployed.data.transform_param.short_side:
        return
    given = deployed.data.transform_param
    for layer in deployed.message.layer:
        if is_input(layer) and layer.HasField("transform_param"):
            layer.transform_param.short_side, layer.transform_param.interp_mode = given.short_side, given.interp_mode


def scored_model(
    kind: type[Kind],
    model: NetSource | Kind,
    weights: WeightPaths | None,
    *,
    fed: bool,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    allow_missing: bool = False,
    probabilities: bool = False,
    fork: ForkName | None = None,
    amp: Amp | None = None,
    engine: Engine | None = None,
    rgb: bool | None = None,
    **settings: Any,
) -> Kind:
    """A net that is scored, with its weights: of a prototxt, an ONNX file, or one of that kind that is made already.

    Args:
        fed: pictures come from outside; else the net reads its own data.
        allow_missing: go on though layers that need training get no weights from the files.
        probabilities: as of `fed_model`.
        amp: as of :class:`caffecompat.Net`.
        engine: as of `ScoredNet`; None is "auto", or that of a net that is made already.
        rgb: as of `OnnxModel`.
        settings: of ScoredNet, besides.

    Raises:
        CaffeCompatError: the net or its weights cannot be read, or do not fit.
    """
    if is_onnx(model):
        from caffecompat.evaluate.onnx_nets import onnx_net

        if weights is not None:
            raise CaffeCompatError(f"{model}: an ONNX file has its weights in it; leave weights out")
        if amp is not None:
            raise CaffeCompatError(f"{model}: an ONNX file computes as it was exported; leave amp out")
        if engine == "torch":
            raise CaffeCompatError(f"{model}: onnxruntime computes ONNX files; leave engine out")
        return onnx_net(kind, model, size=size, rgb=rgb, **settings)
    if rgb is not None:
        raise CaffeCompatError("rgb is for ONNX files; a Caffe net takes B, G, R")
    if isinstance(model, ScoredNet):
        refuse_amp(amp)
        if engine is not None:
            raise CaffeCompatError("engine is for a net that is made here; make this one with it")
        net = model
        if weights is not None:
            net.load(weights)
    else:
        document = with_amp(as_document(model, fork=fork), amp)
        if fed:
            document = fed_model(document, size=size, probabilities=probabilities)
        net = kind(document, weights, size=size, device=device, engine=engine or "auto", **settings)
    if weights is not None and net.loaded is not None:
        net.loaded.check(", ".join(weight_paths(weights)), allow_missing=allow_missing)
    return net
