"""``debug_info``: mean absolute values of every blob, parameter and gradient, in Caffe's lines."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from caffecompat import glog
from caffecompat.layers import Layer
from caffecompat.net import Net
from caffecompat.net.layer import NetLayer

__all__ = ["DebugInfo"]


def _mean_abs(tensor: Tensor) -> str:
    return glog.number(float(tensor.detach().abs().mean()) if tensor.numel() else 0.0)


class DebugInfo:
    """Logs one forward and backward pass of a net while it is the active context.

    BVLC prints the lines from ``Net::ForwardDebugInfo``, ``BackwardDebugInfo``
    and ``UpdateDebugInfo``; the numbers are asum / count. Those of gradients are without a loss scale.

    Args:
        net: the net.
        loss_scale: the factor of the loss that the gradients come from.
    """

    def __init__(self, net: Net, loss_scale: float = 1.0) -> None:
        self._net, self._loss_scale = net, loss_scale
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> DebugInfo:
        self._net.allow_inplace(False)
        for layer in self._net.layers:
            if layer.module is not None:
                self._hooks.append(layer.module.register_forward_hook(self._forward_hook(layer)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _forward_hook(
        self, layer: NetLayer
    ) -> Callable[[Layer, tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None]:
        def hook(module: Layer, bottoms: tuple[Tensor, ...], tops: Tensor | tuple[Tensor, ...]) -> None:
            for name, top in zip(layer.tops, (tops,) if isinstance(tops, Tensor) else tops, strict=False):
                glog.info(f"    [Forward] Layer {layer.name}, top blob {name} data: {_mean_abs(top)}", "net.cpp:574")
            for index, blob in enumerate(module.blobs):
                line = f"    [Forward] Layer {layer.name}, param blob {index} data: {_mean_abs(blob)}"
                glog.info(line, "net.cpp:586")
            for name, bottom in zip(layer.bottoms, bottoms, strict=False):
                if bottom.requires_grad:
                    bottom.register_hook(self._backward_hook(layer.name, name))

        return hook

    def _backward_hook(self, layer: str, blob: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            mean = _mean_abs(gradient.float() / self._loss_scale)
            glog.info(f"    [Backward] Layer {layer}, bottom blob {blob} diff: {mean}", "net.cpp:600")

        return hook

    def log_params(self) -> None:
        """Log the summed gradients of the parameters and the norms over the whole net."""
        data_l1 = diff_l1 = data_l2 = diff_l2 = 0.0
        for param in self._net.params:
            data, diff = param.blob.detach(), param.blob.grad
            data_l1 += float(data.abs().sum())
            data_l2 += float((data * data).sum())
            if diff is None:
                continue
            diff = diff / self._loss_scale
            line = f"    [Backward] Layer {param.layer}, param blob {param.index} diff: {_mean_abs(diff)}"
            glog.info(line, "net.cpp:611")
            diff_l1 += float(diff.abs().sum())
            diff_l2 += float((diff * diff).sum())
        numbers = [glog.number(value) for value in (data_l1, diff_l1, data_l2**0.5, diff_l2**0.5)]
        glog.info(
            f"    [Backward] All net params (data, diff): L1 norm = ({numbers[0]}, {numbers[1]}); "
            f"L2 norm = ({numbers[2]}, {numbers[3]})",
            "net.cpp:639",
        )

    def log_update(self, steps: dict[int, Tensor]) -> None:
        """Log each parameter with the step it is about to take; `steps` maps positions in ``net.params``."""
        for position, step in steps.items():
            param = self._net.params[position]
            glog.info(
                f"    [Update] Layer {param.layer}, param {param.index} "
                f"data: {_mean_abs(param.blob)}; diff: {_mean_abs(step)}",
                "net.cpp:624",
            )
