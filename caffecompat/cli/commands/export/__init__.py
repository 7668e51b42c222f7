"""Write a trained net for where it will run.

    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel net.onnx
    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel --target dpu net.onnx

``caffecompat export WHAT --help`` lists the flags of each.
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "write a net for where it runs: onnx (also for DPU and TIDL), deploy prototxt, torch source"

_PARTS = Group(__name__, "onnx", "deploy", "torch")
add_flags, run = _PARTS.add_flags, _PARTS.run
