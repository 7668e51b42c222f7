"""The face of ``import caffe``: everything that BVLC's pycaffe offers, under the same names.

>>> import caffecompat.pycaffe as caffe
>>> net = caffe.Net("deploy.prototxt", "net.caffemodel", caffe.TEST)
>>> net.blobs["data"].data[...] = 200
>>> net.forward()["prob"].argmax(1)
array([1])

Scripts that say ``import caffe`` run as they are after :func:`install`, or by ``caffecompat run script.py``. Names are
imported when first used: what needs no torch (`io`, `net_spec`, `proto`, ...) never loads it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from caffecompat.pycaffe import api_2014

if TYPE_CHECKING:
    from caffecompat.pycaffe import classifier, coord_map, detector, draw, io, model_libs, net_spec, proto
    from caffecompat.pycaffe.binding import install
    from caffecompat.pycaffe.classifier import Classifier
    from caffecompat.pycaffe.detector import Detector
    from caffecompat.pycaffe.mode import set_device, set_fork, set_mode_cpu, set_mode_gpu, set_random_seed
    from caffecompat.pycaffe.net import Blob, BlobVec, Net, RawBlobVec, layer_type_list
    from caffecompat.pycaffe.net_spec import NetSpec, layers, params, to_proto
    from caffecompat.pycaffe.process import (
        NCCL,
        Timer,
        has_nccl,
        init_log,
        log,
        set_logging_disabled,
        set_multiprocess,
        set_solver_count,
        set_solver_rank,
        solver_count,
        solver_rank,
    )
    from caffecompat.pycaffe.python_layer import Layer
    from caffecompat.pycaffe.solver import (
        AdaDeltaSolver,
        AdaGradSolver,
        AdamSolver,
        NesterovSolver,
        RMSPropSolver,
        SGDSolver,
        Solver,
        get_solver,
    )

__version__ = "1.0.0"  # of the pycaffe whose surface this is; caffecompat's own is caffecompat.__version__

TRAIN = 0
TEST = 1

_HOMES = {
    "binding": ("install",),
    "classifier": ("Classifier",),
    "detector": ("Detector",),
    "mode": ("set_device", "set_fork", "set_mode_cpu", "set_mode_gpu", "set_random_seed"),
    "net": ("Blob", "BlobVec", "Net", "RawBlobVec", "layer_type_list"),
    "net_spec": ("NetSpec", "layers", "params", "to_proto"),
    "process": (
        "NCCL",
        "Timer",
        "has_nccl",
        "init_log",
        "log",
        "set_logging_disabled",
        "set_multiprocess",
        "set_solver_count",
        "set_solver_rank",
        "solver_count",
        "solver_rank",
    ),
    "python_layer": ("Layer",),
    "solver": (
        "AdaDeltaSolver",
        "AdaGradSolver",
        "AdamSolver",
        "NesterovSolver",
        "RMSPropSolver",
        "SGDSolver",
        "Solver",
        "get_solver",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("classifier", "coord_map", "detector", "draw", "io", "model_libs", "net_spec", "proto")

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "RawBlobVec",
    "SGDSolver",
    "Solver",
    "Timer",
    "classifier",
    "coord_map",
    "detector",
    "draw",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "model_libs",
    "net_spec",
    "params",
    "proto",
    "set_device",
    "set_fork",
    "set_logging_disabled",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]


def __getattr__(name: str) -> Any:
    if name in ("pycaffe", "_caffe"):  # modules of pycaffe's own whose names are all here
        return sys.modules[__name__]
    if name in _MODULES:
        return importlib.import_module(f"caffecompat.pycaffe.{name}")
    if name not in _HOME_OF:
        raise api_2014.missing("module 'caffecompat.pycaffe'", name, api_2014.MODULE)
    value = getattr(importlib.import_module(f"caffecompat.pycaffe.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
