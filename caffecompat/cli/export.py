"""Write a trained net for where it will run.

    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel net.onnx
    caffecompat export onnx --model deploy.prototxt --weights net.caffemodel --target dpu net.onnx

``caffecompat export WHAT --help`` tells the flags of each.
"""

from __future__ import annotations

import argparse
import importlib
from importlib.util import find_spec
from types import ModuleType

HELP = "write a net for where it runs: onnx (also for DPU and TIDL), deploy prototxt, torch source"

_FORMS = tuple(form for form in ("onnx", "deploy", "torch") if find_spec(f"caffecompat.cli.export_{form}"))


def _module(form: str) -> ModuleType:
    return importlib.import_module(f"caffecompat.cli.export_{form}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_subparsers(dest="form", metavar="|".join(_FORMS), required=True)
    for form in _FORMS:
        module = _module(form)
        module.add_flags(forms.add_parser(form, help=module.HELP, description=module.__doc__))


def run(args: argparse.Namespace) -> int:
    return int(_module(args.form).run(args))
